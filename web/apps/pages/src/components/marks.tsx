// Small signs that every page uses: how an event came, how old it is, which lane it took, what is missing.

import type { EventEnvelope, Gap, Lane } from "@lanecast/client";
import { useClient } from "@lanecast/client/react";
import { age, clockTime } from "../format.ts";
import { useNow } from "../hooks/now.ts";
import { deliveryWords } from "../logic/delivery.ts";
import { gapText } from "../logic/gaps.ts";

export function DeliveryMark({ delivery }: { delivery: string }) {
  const { mark, label, title } = deliveryWords(delivery);
  return (
    <span className="delivery" data-delivery={delivery} title={title}>
      <span aria-hidden="true">{mark}</span> {label}
    </span>
  );
}

/** How old an event is, by the gateway's clock where it is known: this device's may be wrong by minutes. */
export function Age({ at }: { at: Date | null }) {
  const now = useServerNow();
  if (at === null) return null;
  return (
    <time className="age" dateTime={at.toISOString()} title={at.toLocaleString("en-GB")}>
      {age(now - at.getTime())}
    </time>
  );
}

export function useServerNow(): number {
  const now = useNow();
  const { clock } = useClient();
  return now - (clock?.offsetMicros ?? 0) / 1_000;
}

const LANE_SHAPES: Readonly<Record<Lane, string>> = {
  CRITICAL: "M8 1.5 15 14H1Z",
  HIGH: "M8 1 15 8 8 15 1 8Z",
  NORMAL: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13Z",
  LOW: "M2 5.5h12v5H2Z",
};

/** Lanes differ by form and name, never by colour alone. */
export function LaneMark({ lane }: { lane: Lane }) {
  const name = lane.charAt(0) + lane.slice(1).toLowerCase();
  return (
    <span className="lane" data-lane={lane}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={LANE_SHAPES[lane]} />
      </svg>
      {name}
    </span>
  );
}

/** What is true of any event: lane, how it came, how old it is. */
export function Provenance({ event, lane = false }: { event: EventEnvelope; lane?: boolean }) {
  return (
    <span className="provenance">
      {lane && <LaneMark lane={event.lane} />}
      <DeliveryMark delivery={event.delivery} />
      <Age at={event.createTime} />
    </span>
  );
}

/** A line in a list, where something is missing. */
export function GapLine({ gap }: { gap: Gap }) {
  return (
    <li className="gap" data-reason={gap.reason}>
      <span>{gapText(gap)}</span>
    </li>
  );
}

export function Clock({ at }: { at: number }) {
  return <time dateTime={new Date(at).toISOString()}>{clockTime(at)}</time>;
}
