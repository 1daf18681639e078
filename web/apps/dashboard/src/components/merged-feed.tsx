// The same on a phone: the four lanes in short, then one list of all that arrives.

import { LANES, type Lane } from "@lanecast/client";
import { useStore } from "@lanecast/shared/store";
import { useState } from "react";
import { CARDS_PER_LANE } from "../feed.ts";
import { budget, duration, rate } from "../format.ts";
import { LANE_INFO } from "../lanes.ts";
import type { Live } from "../live.ts";
import { EventCard } from "./event-card.tsx";
import { Empty } from "./lane-columns.tsx";
import { LaneHead } from "./lane-head.tsx";
import { Shape } from "./shape.tsx";

export function MergedFeed({ live }: { live: Live }) {
  const [chosen, choose] = useState<Lane | null>(null);
  const { lanes } = useStore(live.feed.snapshot);
  const metrics = useStore(live.metrics.snapshot);
  const browser = useStore(live.feed.browser);
  const info = LANE_INFO.find(({ lane }) => lane === chosen);
  const items = (chosen ? [chosen] : LANES)
    .flatMap((lane) => lanes[lane].items)
    .sort((a, b) => b.key - a.key)
    .slice(0, CARDS_PER_LANE * 2);
  return (
    <div className="merged" id="feed" tabIndex={-1}>
      <fieldset className="lane-tiles">
        <legend className="visually-hidden">Show one lane only</legend>
        {LANE_INFO.map(({ lane, label, budgetMs }) => {
          const server = metrics.lanes[lane].server;
          const over = server !== null && server.p99 > budgetMs;
          return (
            <button
              key={lane}
              type="button"
              className="lane-tile"
              aria-pressed={chosen === lane}
              onClick={() => choose(chosen === lane ? null : lane)}
            >
              <span className="lane-title">
                <Shape lane={lane} /> {label}
              </span>
              <span className="tile-figure">{browser[lane] ? duration(browser[lane].p50) : "–"}</span>
              <span className="muted">
                {rate(browser[lane]?.perSecond ?? 0)} · {server === null ? "no figures" : over ? "✕ over" : "✓ within"}{" "}
                {budget(budgetMs)}
              </span>
            </button>
          );
        })}
      </fieldset>
      {info && (
        <section className="lane" data-lane={info.lane} aria-label={`Lane ${info.label}`}>
          <LaneHead info={info} live={live} />
        </section>
      )}
      <ol className="cards" aria-label="Events, newest first">
        {items.map((item) => (
          <li key={item.key}>
            <EventCard item={item} />
          </li>
        ))}
      </ol>
      {items.length === 0 && <Empty carries={info?.carries ?? "Events"} />}
    </div>
  );
}
