// The panel of performance tests: the order, the progress, the result.

import { useStore } from "@lanecast/shared/store";
import { type FormEvent, useState } from "react";
import { access } from "../../access.ts";
import { announce } from "../../announce.ts";
import { DataTable } from "../../components/data-table.tsx";
import { GradeMark } from "../../components/grade.tsx";
import { Panel } from "../../components/panel.tsx";
import { name } from "../../data/protojson.ts";
import { duration, number, percent } from "../../format.ts";
import { LANE_INFO } from "../../lanes.ts";
import { words } from "../../words.ts";
import { type Order, PerformanceTest, type ProgressJson, problemOf, USUAL } from "./performance.ts";

const test = new PerformanceTest();

const COLUMNS = [
  { key: "lane", label: "lane" },
  { key: "count", label: "events", numeric: true },
  { key: "within", label: "in limit", numeric: true },
  { key: "limit", label: "limit", numeric: true },
  { key: "p50", label: "p50", numeric: true },
  { key: "p99", label: "p99", numeric: true },
  { key: "p999", label: "p99.9", numeric: true },
] as const;

export function PerformancePanel() {
  const { state, progress, problem } = useStore(test.run);
  const { role, why } = useStore(access);
  const rows = progress ? rowsOf(progress) : [];
  return (
    <Panel
      title="Performance test"
      question="How fast is it now, under a load of my choice? Users and their figures do not see it"
      table={{ file: "performance-test", columns: COLUMNS, rows }}
      notice={state === "failed" ? { kind: "error", text: `${problem}.`.replace(/\.\.$/, ".") } : null}
    >
      {role === "reader" ? <p className="muted">Read only: {why}</p> : <OrderForm running={state === "running"} />}
      {state !== "idle" && <Progress state={state} progress={progress} />}
      {rows.length > 0 && <DataTable caption="Result of the test" columns={COLUMNS} rows={rows} />}
      {progress?.remarks.map((remark) => (
        <p key={remark} className="muted">
          {remark}
        </p>
      ))}
    </Panel>
  );
}

function OrderForm({ running }: { running: boolean }) {
  const [order, setOrder] = useState<Order>(USUAL);
  const problem = problemOf(order);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    announce("The performance test has started");
    void test.start(order).then(() => announce(`The performance test is ${test.run.get().state}`));
  };
  return (
    <form className="order" onSubmit={submit}>
      <NumberField
        label="Events per second"
        value={order.eventsPerSecond}
        onChange={(eventsPerSecond) => setOrder({ ...order, eventsPerSecond })}
      />
      <NumberField label="Seconds" value={order.seconds} onChange={(seconds) => setOrder({ ...order, seconds })} />
      <NumberField
        label="Subscribers"
        value={order.subscribers}
        onChange={(subscribers) => setOrder({ ...order, subscribers })}
      />
      <fieldset className="mix">
        <legend>Mix of the lanes, parts</legend>
        {LANE_INFO.map(({ lane, label }, index) => (
          <NumberField
            key={lane}
            label={label}
            value={order.mix[index] ?? 0}
            onChange={(weight) => setOrder({ ...order, mix: order.mix.with(index, weight) as unknown as Order["mix"] })}
          />
        ))}
      </fieldset>
      <div className="order-actions">
        {running ? (
          <button type="button" onClick={() => test.stop()}>
            Stop
          </button>
        ) : (
          <button type="submit" className="primary" disabled={problem !== ""}>
            Run the test
          </button>
        )}
        {problem !== "" && (
          <p className="notice" data-kind="stale">
            ◐ {problem}
          </p>
        )}
      </div>
    </form>
  );
}

function NumberField({ label, value, onChange }: { label: string; value: number; onChange: (value: number) => void }) {
  return (
    <label className="field">
      <span>{label}</span>
      <input
        type="number"
        inputMode="numeric"
        min={0}
        value={Number.isNaN(value) ? "" : value}
        onChange={(event) => onChange(event.target.valueAsNumber)}
      />
    </label>
  );
}

function Progress({ state, progress }: { state: string; progress: ProgressJson | null }) {
  const share = progress?.progress ?? 0;
  const count = (text: string | undefined) => number(text).toLocaleString("en");
  return (
    <div className="test-progress" data-testid="perf" data-state={state}>
      <progress value={share} max={1} aria-label="Progress of the test" />
      <p className="figure">
        {state === "done" && progress ? (
          <>
            <GradeMark grade={progress.grade} /> <strong>Grade {name(progress.grade, "GRADE_") || "none"}</strong> ·{" "}
            {count(progress.lost)} lost · {count(progress.duplicated)} twice · {count(progress.rejected)} refused
          </>
        ) : (
          `${words(state)}, ${percent(share)}`
        )}
        <span className="muted">
          {" "}
          · {count(progress?.sent)} of {count(progress?.planned)} sent, {count(progress?.received)} received
        </span>
      </p>
    </div>
  );
}

function rowsOf(progress: ProgressJson) {
  return progress.figures
    .filter(({ scope }) => scope === "LATENCY_SCOPE_SERVER")
    .map((figure) => {
      const ms = (seconds: number) => ({ value: seconds * 1_000, text: duration(seconds * 1_000) });
      return {
        lane: { value: words(name(figure.lane, "PRIORITY_")) },
        count: { value: number(figure.count), text: number(figure.count).toLocaleString("en") },
        within: { value: figure.withinBudget, text: percent(figure.withinBudget, 2) },
        limit: ms(figure.budgetSeconds),
        p50: ms(figure.p50Seconds),
        p99: ms(figure.p99Seconds),
        p999: ms(figure.p999Seconds),
      };
    });
}
