// How an event came, in words and a mark. Pure.

export interface DeliveryWords {
  readonly mark: string;
  readonly label: string;
  readonly title: string;
}

const WORDS: Readonly<Record<string, DeliveryWords>> = {
  live: { mark: "●", label: "live", title: "Came over the open connection as it was published" },
  recovered: { mark: "↺", label: "recovered", title: "Read from the log: published before this page was connected" },
  polled: { mark: "⇣", label: "polled", title: "Fetched by polling, because the direct connection is blocked" },
  cached: { mark: "▣", label: "cached", title: "Kept on this device from an earlier visit" },
};

/** What to say of a delivery; a kind this page does not know is called by its name. */
export function deliveryWords(kind: string): DeliveryWords {
  return WORDS[kind] ?? { mark: "·", label: kind, title: kind };
}
