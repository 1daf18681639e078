// Four lanes side by side: figures above, events below.

import { LANE_INFO } from "../lanes.ts";
import type { Live } from "../live.ts";
import { useStore } from "../store.ts";
import { EventCard } from "./event-card.tsx";
import { LaneHead } from "./lane-head.tsx";

export function LaneColumns({ live }: { live: Live }) {
  const { lanes } = useStore(live.feed.snapshot);
  const metrics = useStore(live.metrics.snapshot);
  const browser = useStore(live.feed.browser);
  return (
    <div className="lanes" id="feed" tabIndex={-1}>
      {LANE_INFO.map((info) => (
        <section key={info.lane} className="lane" data-lane={info.lane} aria-label={`Lane ${info.label}`}>
          <LaneHead
            info={info}
            figures={metrics.lanes[info.lane]}
            history={metrics.history[info.lane]}
            browser={browser[info.lane]}
          />
          <ol className="cards" aria-label={`Events of the lane ${info.label}, newest first`}>
            {lanes[info.lane].items.map((item) => (
              <li key={item.key}>
                <EventCard item={item} />
              </li>
            ))}
          </ol>
          {lanes[info.lane].items.length === 0 && <Empty carries={info.carries} />}
        </section>
      ))}
    </div>
  );
}

export function Empty({ carries }: { carries: string }) {
  return (
    <p className="empty">
      {carries} will appear here. <code>lanecast demo</code> starts services that publish them.
    </p>
  );
}
