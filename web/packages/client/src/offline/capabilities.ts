// What this browser can do without a network, so that an application promises its users no more than that.

export interface Capabilities {
  /** Events and positions can be kept. */
  readonly storage: boolean;
  /** The browser has promised not to clear what is kept when it needs room. */
  readonly persistent: boolean;
  /** Bytes this site may use and uses, where the browser tells. */
  readonly quotaBytes: number | null;
  readonly usedBytes: number | null;
  /** Pages can open without a network. */
  readonly serviceWorker: boolean;
  /** What waits is sent after the page is closed. */
  readonly backgroundSync: boolean;
  readonly push: boolean;
}

/** Asks the browser to keep what is stored. It may refuse, and mostly does until the site is used often. */
export async function requestPersistence(): Promise<boolean> {
  return (await navigator.storage?.persist?.()) ?? false;
}

/** Finds out what is possible here. */
export async function capabilities(): Promise<Capabilities> {
  const storage = navigator.storage;
  const estimate = (await storage?.estimate?.()) ?? {};
  return {
    storage: typeof indexedDB !== "undefined",
    persistent: (await storage?.persisted?.()) ?? false,
    quotaBytes: estimate.quota ?? null,
    usedBytes: estimate.usage ?? null,
    serviceWorker: "serviceWorker" in navigator,
    backgroundSync: "SyncManager" in globalThis,
    push: "PushManager" in globalThis,
  };
}
