// Are we losing or shedding: what comes in, what goes out, what waits, what was refused or dropped.

import type { Lane } from "@lanecast/client";
import { useStore } from "@lanecast/shared/store";
import { Panel } from "../../components/panel.tsx";
import { Shape } from "../../components/shape.tsx";
import { rate } from "../../format.ts";
import { LANE_INFO } from "../../lanes.ts";
import type { Live } from "../../live.ts";
import type { LaneFigures } from "../../metrics.ts";
import { figuresNotice } from "./notice.ts";

const COLUMNS = [
  { key: "lane", label: "lane" },
  { key: "accepted", label: "in /s", numeric: true },
  { key: "delivered", label: "out /s", numeric: true },
  { key: "queue", label: "waiting", numeric: true },
  { key: "batch", label: "a batch", numeric: true },
  { key: "dropped", label: "dropped /s", numeric: true },
  { key: "rejected", label: "refused /s", numeric: true },
  { key: "duplicate", label: "repeats /s", numeric: true },
] as const;

/** What is lost or shed, as a sentence; the panel's answer. */
export function answer(lanes: Readonly<Record<Lane, LaneFigures>>): { text: string; tone: "good" | "warn" | "bad" } {
  const losing = LANE_INFO.filter(({ lane }) => lanes[lane].droppedPerSecond > 0);
  const refusing = LANE_INFO.filter(({ lane }) => lanes[lane].rejectedPerSecond > 0);
  if (losing.length > 0) {
    const named = losing.map(({ lane, label }) => `${label} ${rate(lanes[lane].droppedPerSecond)}`).join(", ");
    return { text: `Shedding: ${named}. Each loss is named to its reader as a gap.`, tone: "bad" };
  }
  if (refusing.length > 0) {
    const named = refusing.map(({ lane, label }) => `${label} ${rate(lanes[lane].rejectedPerSecond)}`).join(", ");
    return { text: `Refusing at the door: ${named}. Their publishers are told why.`, tone: "warn" };
  }
  return { text: "Nothing is lost, shed or refused.", tone: "good" };
}

const MARKS = { good: "✓", warn: "▲", bad: "✕" } as const;

export function ThroughputPanel({ live }: { live: Live }) {
  const metrics = useStore(live.metrics.snapshot);
  const { lanes, connections } = metrics;
  const most = Math.max(1e-9, ...LANE_INFO.map(({ lane }) => lanes[lane].deliveredPerSecond));
  const { text, tone } = answer(lanes);
  const any = LANE_INFO.some(({ lane }) => lanes[lane].acceptedPerSecond + lanes[lane].deliveredPerSecond > 0);
  const rows = LANE_INFO.map(({ lane, label }) => {
    const figures = lanes[lane];
    return {
      lane: { value: label },
      accepted: fixed(figures.acceptedPerSecond),
      delivered: fixed(figures.deliveredPerSecond),
      queue: { value: figures.queueDepth },
      batch: fixed(figures.meanBatchSize),
      dropped: fixed(figures.droppedPerSecond),
      rejected: fixed(figures.rejectedPerSecond),
      duplicate: fixed(figures.duplicatePerSecond),
    };
  });
  return (
    <Panel
      title="Throughput and queues"
      question="Are we losing or shedding?"
      notice={figuresNotice(metrics, any)}
      table={{ file: "throughput", columns: COLUMNS, rows }}
    >
      <p className="answer" data-tone={tone}>
        <span aria-hidden="true">{MARKS[tone]}</span> {text}{" "}
        <span className="muted">
          {connections.toLocaleString("en")} {connections === 1 ? "connection" : "connections"}
        </span>
      </p>
      <ul className="flows">
        {LANE_INFO.map(({ lane, label }) => {
          const figures = lanes[lane];
          return (
            <li key={lane}>
              <span className="hop-lane">
                <Shape lane={lane} /> {label}
              </span>
              <span className="flow" aria-hidden="true">
                <span style={{ width: `${(figures.deliveredPerSecond / most) * 100}%` }} />
              </span>
              <span className="figure">
                {rate(figures.acceptedPerSecond)} <span className="muted">in</span> {rate(figures.deliveredPerSecond)}{" "}
                <span className="muted">out</span>
              </span>
              <span className="figure muted">
                {figures.queueDepth.toLocaleString("en")} waiting · {figures.meanBatchSize.toFixed(1)} a batch
                {figures.droppedPerSecond > 0 && <strong> · {rate(figures.droppedPerSecond)} dropped</strong>}
                {figures.rejectedPerSecond > 0 && <strong> · {rate(figures.rejectedPerSecond)} refused</strong>}
              </span>
            </li>
          );
        })}
      </ul>
    </Panel>
  );
}

function fixed(value: number) {
  return { value: Number(value.toFixed(3)), text: value.toFixed(1) };
}
