// Is it just me: this browser's own connection beside all browsers, and whether it has missed anything.

import { LANES } from "@lanecast/client";
import { useStore } from "@lanecast/shared/store";
import { Panel } from "../../components/panel.tsx";
import { Shape } from "../../components/shape.tsx";
import type { BrowserFigures } from "../../feed.ts";
import { duration } from "../../format.ts";
import { LANE_INFO } from "../../lanes.ts";
import type { ChannelContinuity, Live } from "../../live.ts";
import type { Quantiles } from "../../metrics.ts";

const COLUMNS = [
  { key: "lane", label: "lane" },
  { key: "mine50", label: "mine p50", numeric: true },
  { key: "mine99", label: "mine p99", numeric: true },
  { key: "bound", label: "±", numeric: true },
  { key: "all50", label: "all p50", numeric: true },
  { key: "all99", label: "all p99", numeric: true },
] as const;

/** How much slower than all browsers this one must be, beyond what the clock leaves open, to be said to be slower. */
const SLOWER = 2;

export interface Beside {
  readonly mine: BrowserFigures | null;
  readonly all: Quantiles | null;
}

/** The panel's answer; compares medians, and grants what the clocks leave uncertain. */
export function verdict(lanes: readonly Beside[]): { text: string; tone: "good" | "warn" | "none" } {
  const known = lanes.filter(({ mine, all }) => mine !== null && all !== null);
  if (known.length === 0)
    return { text: "Nothing to compare yet: it needs live events here and elsewhere.", tone: "none" };
  const slower = known.some(({ mine, all }) => (mine?.p50 ?? 0) - (mine?.uncertainty ?? 0) > SLOWER * (all?.p50 ?? 0));
  return slower
    ? {
        text: "It is this browser: its events take longer than everybody's. Look at its network and at what else it does.",
        tone: "warn",
      }
    : { text: "It is not just you: this browser sees what all browsers see.", tone: "good" };
}

export function Browser({ live }: { live: Live }) {
  const metrics = useStore(live.metrics.snapshot);
  const browser = useStore(live.feed.browser);
  const clock = useStore(live.clock);
  const continuity = useStore(live.continuity);
  const lanes = LANES.map((lane) => ({ lane, mine: browser[lane], all: metrics.lanes[lane].endToEnd }));
  const { text, tone } = verdict(lanes);
  const rows = lanes.map(({ lane, mine, all }) => ({
    lane: { value: LANE_INFO.find((info) => info.lane === lane)?.label ?? lane },
    mine50: ms(mine?.p50),
    mine99: ms(mine?.p99),
    bound: ms(mine?.uncertainty),
    all50: ms(all?.p50),
    all99: ms(all?.p99),
  }));
  const empty = lanes.every(({ mine }) => mine === null);
  return (
    <Panel
      title="This browser"
      question="Is it just me? One way from the AI service to this page"
      notice={empty ? { kind: "empty", text: "No live event has come here yet. Start some: lanecast demo." } : null}
      table={{ file: "this-browser", columns: COLUMNS, rows }}
    >
      <p className="answer" data-tone={tone}>
        <span aria-hidden="true">{tone === "good" ? "✓" : tone === "warn" ? "▲" : "○"}</span> {text}
      </p>
      <table className="data compact">
        <thead>
          <tr>
            <td />
            <th scope="col" data-numeric="true">
              mine p50
            </th>
            <th scope="col" data-numeric="true">
              p99
            </th>
            <th scope="col" data-numeric="true">
              all p50
            </th>
            <th scope="col" data-numeric="true">
              p99
            </th>
          </tr>
        </thead>
        <tbody>
          {lanes.map(({ lane }, index) => (
            <tr key={lane}>
              <th scope="row">
                <Shape lane={lane} /> {rows[index]?.lane.value}
              </th>
              <td data-numeric="true">{rows[index]?.mine50.text}</td>
              <td data-numeric="true">{rows[index]?.mine99.text}</td>
              <td data-numeric="true">{rows[index]?.all50.text}</td>
              <td data-numeric="true">{rows[index]?.all99.text}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p className="muted">
        {clock
          ? `Clock known to ±${duration(clock.uncertaintyMs)}: no figure is surer than that.`
          : "The clocks were not compared yet."}
      </p>
      <Continuity channels={continuity} />
    </Panel>
  );
}

function Continuity({ channels }: { channels: readonly ChannelContinuity[] }) {
  const sum = (key: "delivered" | "duplicates" | "gaps" | "resumes") =>
    channels.reduce((total, channel) => total + channel[key], 0).toLocaleString("en");
  return (
    <dl className="continuity" data-testid="continuity">
      <div>
        <dt>delivered</dt>
        <dd>{sum("delivered")}</dd>
      </div>
      <div>
        <dt>doubles dropped</dt>
        <dd>{sum("duplicates")}</dd>
      </div>
      <div>
        <dt>gaps</dt>
        <dd>{sum("gaps")}</dd>
      </div>
      <div>
        <dt>resumed</dt>
        <dd>{sum("resumes")}</dd>
      </div>
    </dl>
  );
}

function ms(value: number | undefined) {
  return value === undefined ? { value: null, text: "–" } : { value: Number(value.toFixed(4)), text: duration(value) };
}
