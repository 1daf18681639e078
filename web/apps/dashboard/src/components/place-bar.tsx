// A bar whose parts are the places an event passes, as wide as the time it spends there.

import { duration } from "../format.ts";
import { byPlace, type HopTimes } from "../lanes.ts";

export function PlaceBar({ hops, label }: { hops: HopTimes; label: string }) {
  const places = byPlace(hops);
  const total = places.reduce((sum, { ms }) => sum + ms, 0);
  const text = places.map(({ label: name, ms }) => `${name} ${duration(ms)}`).join(", ");
  return (
    <div className="place-bar" role="img" aria-label={`${label}: ${text}`} title={text}>
      {places.map(
        ({ id, ms }) => ms > 0 && <span key={id} data-place={id} style={{ flexGrow: total > 0 ? ms / total : 0 }} />,
      )}
    </div>
  );
}
