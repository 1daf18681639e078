// One lane in figures: its budget and how well it is kept, the way to this browser, and where the time goes.

import { useStore } from "@lanecast/shared/store";
import { memo } from "react";
import { budget, duration, percent, rate } from "../format.ts";
import { ALL_HOPS, disjoint, HOP_LABELS, type LaneInfo } from "../lanes.ts";
import type { Live } from "../live.ts";
import type { LaneFigures, Quantiles } from "../metrics.ts";
import { PlaceBar } from "./place-bar.tsx";
import { Shape } from "./shape.tsx";
import { Sparkline } from "./sparkline.tsx";

/** Renders once a second with the figures, not with each event. */
export const LaneHead = memo(function LaneHead({ info, live }: { info: LaneInfo; live: Live }) {
  const { lane, label, carries, budgetMs, promise } = info;
  const metrics = useStore(live.metrics.snapshot);
  const browser = useStore(live.feed.browser)[lane];
  const figures = metrics.lanes[lane];
  const history = metrics.history[lane];
  return (
    <header className="lane-head">
      <div className="lane-title">
        <Shape lane={lane} />
        <h2>{label}</h2>
        <span className="lane-rate">{rate(browser?.perSecond ?? 0)}</span>
      </div>
      <p className="lane-carries">
        {carries} <span className="muted">· {promise}</span>
      </p>
      <Budget server={figures.server} within={figures.withinBudget} budgetMs={budgetMs} />
      <table className="quantiles">
        <caption className="visually-hidden">Latency of the lane {label}</caption>
        <thead>
          <tr>
            <td />
            <th scope="col">p50</th>
            <th scope="col">p95</th>
            <th scope="col">p99</th>
          </tr>
        </thead>
        <tbody>
          <Row name="in the service" title="From acceptance until the gateway has written it" values={figures.server} />
          <Row
            name="to this page"
            title="From the AI service's SDK to this page, as far as the clocks are known"
            bound={browser?.uncertainty ?? null}
            values={browser}
          />
        </tbody>
      </table>
      <Sparkline points={history} budgetMs={budgetMs} label={`${label}, p99`} />
      <p className="note">p99 over time · dashed: budget</p>
      <PlaceBar hops={figures.hops} label="Mean time at each place" />
      <HopTable figures={figures} />
    </header>
  );
});

interface RowProps {
  readonly name: string;
  readonly title: string;
  readonly values: Omit<Quantiles, "mean"> | null;
  /** How far off the values may be. */
  readonly bound?: number | null;
}

function Row({ name, title, values, bound }: RowProps) {
  const cell = (ms: number | undefined) => <td>{ms === undefined ? "–" : duration(ms)}</td>;
  return (
    <tr title={title}>
      <th scope="row">
        {name}
        {bound !== undefined && <span className="bound">±{bound === null ? "–" : duration(bound)}</span>}
      </th>
      {cell(values?.p50)}
      {cell(values?.p95)}
      {cell(values?.p99)}
    </tr>
  );
}

function Budget({ server, within, budgetMs }: { server: Quantiles | null; within: number; budgetMs: number }) {
  if (server === null) {
    return (
      <p className="budget" data-tone="none">
        <strong>Budget {budget(budgetMs)}</strong> <span className="muted">no figures yet</span>
      </p>
    );
  }
  const kept = server.p99 <= budgetMs;
  return (
    <p className="budget" data-tone={kept ? "good" : "bad"}>
      <strong>
        <span aria-hidden="true">{kept ? "✓" : "✕"}</span> {kept ? "Within" : "Over"} {budget(budgetMs)}
      </strong>{" "}
      <span className="muted">{percent(within, within < 1 && within > 0.99 ? 2 : 0)} in budget</span>
    </p>
  );
}

function HopTable({ figures }: { figures: LaneFigures }) {
  const parts = disjoint(figures.hops);
  return (
    <details className="hops">
      <summary>Hop by hop</summary>
      <table>
        <thead>
          <tr>
            <th scope="col">hop</th>
            <th scope="col">mean</th>
            <th scope="col">p99</th>
          </tr>
        </thead>
        <tbody>
          {ALL_HOPS.map((hop) => (
            <tr key={hop} data-hop={hop} data-known={figures.hopQuantiles[hop] !== undefined}>
              <th scope="row">{HOP_LABELS[hop]}</th>
              <td>{parts[hop] === undefined ? "–" : duration(parts[hop])}</td>
              <td>{figures.hopQuantiles[hop] ? duration(figures.hopQuantiles[hop].p99) : "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
