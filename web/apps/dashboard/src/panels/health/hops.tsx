// Where the time goes: the mean way of each lane as one bar, whose parts are the hops and add up to the whole.

import { LANES, type Lane } from "@lanecast/client";
import { useStore } from "@lanecast/shared/store";
import { Panel } from "../../components/panel.tsx";
import { Shape } from "../../components/shape.tsx";
import { duration, percent } from "../../format.ts";
import { ALL_HOPS, type AnyHop, disjoint, HOP_LABELS, LANE_INFO, PLACES } from "../../lanes.ts";
import type { Live } from "../../live.ts";
import type { LaneFigures } from "../../metrics.ts";
import { figuresNotice } from "./notice.ts";

const WIDTH = 1_000;
const HEIGHT = 30;

export interface Part {
  readonly hop: AnyHop;
  readonly place: string;
  /** Odd hops of a place are drawn lighter, so that neighbours differ without another colour. */
  readonly second: boolean;
  readonly ms: number;
}

/** The hops of a lane in the order of the way, without overlap; those that were not measured are left out. */
export function partsOf(figures: LaneFigures): Part[] {
  const times = disjoint(figures.hops);
  return PLACES.flatMap(({ id, hops }) =>
    hops.flatMap((hop: AnyHop, index) => {
      const ms = Math.max(0, times[hop] ?? 0);
      return ms > 0 ? [{ hop, place: id, second: index % 2 === 1, ms }] : [];
    }),
  );
}

const COLUMNS = [
  { key: "hop", label: "hop" },
  ...LANE_INFO.map(({ lane, label }) => ({ key: lane, label: `${label}, mean`, numeric: true })),
];

export function HopPanel({ live }: { live: Live }) {
  const metrics = useStore(live.metrics.snapshot);
  const ways = LANE_INFO.map(({ lane, label }) => {
    const parts = partsOf(metrics.lanes[lane]);
    return { lane, label, parts, whole: parts.reduce((sum, { ms }) => sum + ms, 0) };
  });
  return (
    <Panel
      title="Hops"
      question="Where does the time go? Mean of the last minute, from the AI service to browsers"
      notice={figuresNotice(
        metrics,
        ways.some(({ whole }) => whole > 0),
      )}
      table={{ file: "hops", columns: COLUMNS, rows: rowsOf(metrics.lanes) }}
    >
      <ul className="hop-ways">
        {ways.map(({ lane, label, parts, whole }) => (
          <li key={lane}>
            <span className="hop-lane">
              <Shape lane={lane} /> {label}
            </span>
            <Bar parts={parts} whole={whole} label={label} />
            <span className="figure">{whole > 0 ? duration(whole) : "–"}</span>
          </li>
        ))}
      </ul>
      <ul className="legend">
        {PLACES.map(({ id, label, hops }) => (
          <li key={id}>
            <span className="swatch" data-place={id} aria-hidden="true" /> {label}
            <span className="muted"> {hops.map((hop) => HOP_LABELS[hop as AnyHop]).join(", ")}</span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Bar({ parts, whole, label }: { parts: readonly Part[]; whole: number; label: string }) {
  let x = 0;
  const text = parts.map(({ hop, ms }) => `${HOP_LABELS[hop]} ${duration(ms)}`).join(", ");
  return (
    <svg
      className="hop-bar"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${label}: ${text || "nothing measured"}`}
    >
      <rect className="track" width={WIDTH} height={HEIGHT} />
      {parts.map(({ hop, place, second, ms }) => {
        const width = (ms / whole) * WIDTH;
        const left = x;
        x += width;
        return (
          <rect
            key={hop}
            data-place={place}
            data-hop={hop}
            className={second ? "second" : ""}
            x={left}
            width={Math.max(0, width - 2)}
            height={HEIGHT}
          >
            <title>{`${HOP_LABELS[hop]}: ${duration(ms)}, ${percent(ms / whole)}`}</title>
          </rect>
        );
      })}
    </svg>
  );
}

function rowsOf(lanes: Readonly<Record<Lane, LaneFigures>>) {
  const times = Object.fromEntries(LANES.map((lane) => [lane, disjoint(lanes[lane].hops)]));
  const cells = (values: (lane: Lane) => number | undefined) =>
    Object.fromEntries(
      LANES.map((lane) => {
        const ms = values(lane);
        return [lane, ms === undefined ? { value: null } : { value: Number(ms.toFixed(4)), text: duration(ms) }];
      }),
    );
  const rows = ALL_HOPS.map((hop) => ({ hop: { value: HOP_LABELS[hop] }, ...cells((lane) => times[lane]?.[hop]) }));
  const whole = (lane: Lane) => partsOf(lanes[lane]).reduce((sum, { ms }) => sum + ms, 0);
  return [...rows, { hop: { value: "the whole way" }, ...cells(whole) }];
}
