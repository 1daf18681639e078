// Four lanes side by side: figures above, events below.

import { useStore } from "@lanecast/shared/store";
import { memo } from "react";
import type { LaneFeed } from "../feed.ts";
import { LANE_INFO, type LaneInfo } from "../lanes.ts";
import type { Live } from "../live.ts";
import { EventCard } from "./event-card.tsx";
import { LaneHead } from "./lane-head.tsx";

export function LaneColumns({ live }: { live: Live }) {
  const { lanes } = useStore(live.feed.snapshot);
  return (
    <div className="lanes" id="feed" tabIndex={-1}>
      {LANE_INFO.map((info) => (
        <section key={info.lane} className="lane" data-lane={info.lane} aria-label={`Lane ${info.label}`}>
          <LaneHead info={info} live={live} />
          <Cards info={info} feed={lanes[info.lane]} />
        </section>
      ))}
    </div>
  );
}

const Cards = memo(function Cards({ info, feed }: { info: LaneInfo; feed: LaneFeed }) {
  return (
    <>
      <p className="crowd" data-crowded={feed.crowded}>
        {feed.crowded
          ? feed.channels > 1
            ? "Some of them, each channel in turn"
            : "Some of them, to be readable"
          : "Newest first"}
        <span>
          {feed.total.toLocaleString("en")}
          {feed.channels > 1 ? ` from ${feed.channels.toLocaleString("en")} channels` : " so far"}
        </span>
      </p>
      {feed.items.length === 0 && <Empty carries={info.carries} />}
      <ol className="cards" aria-label={`Events of the lane ${info.label}, newest first`}>
        {feed.items.map((item) => (
          <li key={item.key}>
            <EventCard item={item} />
          </li>
        ))}
      </ol>
    </>
  );
});

export function Empty({ carries }: { carries: string }) {
  return (
    <p className="empty">
      {carries} will appear here. <code>lanecast demo</code> starts services that publish them.
    </p>
  );
}
