// Each AI system by itself: the grade and the latency of its type of event.

import { useStore } from "@lanecast/shared/store";
import { GradeMark } from "../../components/grade.tsx";
import { type Notice, Panel } from "../../components/panel.tsx";
import { get } from "../../data/api.ts";
import { name } from "../../data/protojson.ts";
import { Resource, useResource } from "../../data/resource.ts";
import { duration, number, percent } from "../../format.ts";
import type { Live } from "../../live.ts";
import { typeName, words } from "../../words.ts";

interface TypeFigure {
  readonly scope: string;
  readonly type: string;
  readonly lane: string;
  readonly count: string;
  readonly p50Seconds: number;
  readonly p99Seconds: number;
  readonly withinBudget: number;
}

const FIGURES = new Resource(
  (signal) => get<{ figures: TypeFigure[] }>("/latency-metrics?window=60s&types=*", signal),
  5_000,
);

const COLUMNS = [
  { key: "type", label: "type of event" },
  { key: "grade", label: "grade" },
  { key: "lane", label: "lane" },
  { key: "count", label: "events", numeric: true },
  { key: "p50", label: "p50", numeric: true },
  { key: "p99", label: "p99", numeric: true },
  { key: "within", label: "in limit", numeric: true },
  { key: "user99", label: "p99 to browsers", numeric: true },
] as const;

export function AiSystems({ live }: { live: Live }) {
  const status = useStore(live.operations.status);
  const { data, problem } = useResource(FIGURES);
  const all = data?.figures.filter(({ type }) => type !== "") ?? [];
  const server = all.filter(({ scope }) => scope === "LATENCY_SCOPE_SERVER");
  const rows = server.map((figure) => {
    const grade = status?.types.find(({ type }) => type === figure.type)?.grade;
    const user = all.find(
      ({ scope, type, lane }) => scope === "LATENCY_SCOPE_END_TO_END" && type === figure.type && lane === figure.lane,
    );
    return {
      key: `${figure.type}/${figure.lane}`,
      figure,
      grade,
      cells: {
        type: { value: figure.type, text: typeName(figure.type) },
        grade: { value: name(grade, "GRADE_") },
        lane: { value: words(name(figure.lane, "PRIORITY_")) },
        count: { value: number(figure.count), text: number(figure.count).toLocaleString("en") },
        p50: ms(figure.p50Seconds),
        p99: ms(figure.p99Seconds),
        within: { value: figure.withinBudget, text: percent(figure.withinBudget, 1) },
        user99: user ? ms(user.p99Seconds) : { value: null },
      },
    };
  });
  return (
    <Panel
      title="AI systems"
      question="Whose events are late? Each type of event, last minute; grades over five"
      notice={noticeOf(data !== null, rows.length, problem)}
      table={{ file: "ai-systems", columns: COLUMNS, rows: rows.map(({ cells }) => cells) }}
    >
      <ul className="systems">
        {rows.map(({ key, figure, grade, cells }) => (
          <li key={key} data-type={figure.type}>
            <GradeMark grade={grade} />
            <span className="system-name">
              <strong>{cells.type.text}</strong>
              <span className="muted">
                {cells.lane.value} · {cells.count.text} events
              </span>
            </span>
            <dl className="system-figures">
              <Pair name="p50" value={cells.p50.text} />
              <Pair name="p99" value={cells.p99.text} />
              <Pair name="in limit" value={cells.within.text} />
            </dl>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Pair({ name: title, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{title}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function ms(seconds: number) {
  return { value: Number((seconds * 1_000).toFixed(4)), text: duration(seconds * 1_000) };
}

function noticeOf(loaded: boolean, rows: number, problem: string | null): Notice | null {
  if (problem) return { kind: loaded ? "stale" : "error", text: `${problem}.` };
  if (!loaded) return { kind: "loading", text: "Asking for each type of event." };
  if (rows === 0) return { kind: "empty", text: "No events in the last minute. Start the AI services: lanecast demo." };
  return null;
}
