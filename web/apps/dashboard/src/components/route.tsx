// Where the time goes: the way of an event in five places, with the median time spent at each.

import { LANES } from "@lanecast/client";
import { useStore } from "@lanecast/shared/store";
import { duration } from "../format.ts";
import { byPlace, type HopTimes, PLACES } from "../lanes.ts";
import type { Live } from "../live.ts";
import { overall } from "../metrics.ts";
import { PlaceBar } from "./place-bar.tsx";

const NOTES: Readonly<Record<string, string>> = {
  service: "wait in its SDK",
  publisher: "receive, log, batch",
  transit: "to the gateway",
  gateway: "queue, write",
  browser: "last mile, to here",
};

function Total({ live }: { live: Live }) {
  const { total } = useStore(live.feed.snapshot);
  return <span data-testid="total">{total.toLocaleString("en")}</span>;
}

export function Route({ live }: { live: Live }) {
  const { lanes } = useStore(live.metrics.snapshot);
  const browser = useStore(live.feed.browser);
  const own = LANES.map((lane) => browser[lane]?.hops).find((hops) => hops !== undefined);
  const hops: HopTimes = overall(lanes) ?? own ?? {};
  const places = byPlace(hops);
  const sum = places.reduce((all, { ms }) => all + ms, 0);
  return (
    <section className="route" aria-labelledby="route-title">
      <div className="route-head">
        <h2 id="route-title">
          From AI service to this page, typically <strong>{sum > 0 ? duration(sum) : "…"}</strong>
        </h2>
        <p>
          medians of the last minute · <Total live={live} /> events since you opened the page
        </p>
      </div>
      <ol className="places">
        {PLACES.map(({ id, label }, index) => (
          <li key={id} data-place={id}>
            <span className="swatch" data-place={id} aria-hidden="true" />
            <span className="place-name">{label}</span>
            <span className="place-time">{sum > 0 ? duration(places[index]?.ms ?? 0) : "–"}</span>
            <span className="place-note">{NOTES[id]}</span>
          </li>
        ))}
      </ol>
      <PlaceBar hops={hops} label="Median time at each place" />
    </section>
  );
}
