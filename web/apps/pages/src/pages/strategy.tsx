// Strategy recommendations: what to do for whom, how much it should bring, how sure that is, and how it has changed.

import type { AiEvents } from "@lanecast/client";
import { type RecommendationEvent, useChannel } from "@lanecast/client/react";
import { useMemo, useState } from "react";
import { useSay } from "../components/announcer.tsx";
import { Empty } from "../components/empty.tsx";
import { Icon } from "../components/icons.tsx";
import { Clock, GapLine, Provenance } from "../components/marks.tsx";
import { Page } from "../components/page.tsx";
import { capital, percent, plural, words } from "../format.ts";
import { SINCE, useContinuity } from "../hooks/continuity.ts";
import { useCalm, useHeld } from "../hooks/pace.ts";
import { polyline, type Segment, segments } from "../logic/strategy.ts";

const PACE_MS = 1_000;
const LISTED_CHANGES = 4;
const CHART = { width: 240, height: 44 };

export function StrategyPage({ channel }: { channel: string }) {
  const view = useChannel<AiEvents>(channel, { since: SINCE });
  const continuity = useContinuity(channel);
  const [held, setHeld] = useState(false);
  const newest = useMemo(() => segments(view.events.filter(isRecommendation)), [view.events]);
  const ranked = useHeld(useCalm(newest, PACE_MS), held);
  const gaps = continuity.gaps.slice(-1);
  const best = ranked[0];
  useSay(best ? `First: ${words(best.action)} for ${words(best.segment)}` : null);
  return (
    <Page
      title="Strategy"
      question="What to do for whom, ranked by what it should bring."
      channel={channel}
      continuity={continuity}
      tools={<HoldButton held={held} onChange={setHeld} />}
    >
      {ranked.length > 0 ? (
        <ol className="ranking" data-testid="ranking">
          {gaps.map((gap) => (
            <GapLine key={`${gap.epoch}${gap.toOffset}`} gap={gap} />
          ))}
          {ranked.map((segment, index) => (
            <Recommendation key={segment.segment} segment={segment} rank={index + 1} />
          ))}
        </ol>
      ) : (
        <Empty
          what="recommendations"
          how="They come as the learner decides what to offer. To see some, run lanecast demo."
          ready={view.ready}
          error={view.error}
        />
      )}
    </Page>
  );
}

export function HoldButton({
  held,
  onChange,
  waiting = 0,
}: {
  held: boolean;
  onChange(held: boolean): void;
  waiting?: number;
}) {
  return (
    <button type="button" aria-pressed={held} onClick={() => onChange(!held)}>
      <Icon name={held ? "play" : "pause"} /> {held ? "Resume" : "Pause"}
      {held && waiting > 0 ? ` (${waiting} new)` : ""}
    </button>
  );
}

function Recommendation({ segment: found, rank }: { segment: Segment; rank: number }) {
  const { segment, action, expected, lower, upper, mass, probabilityBest, rationale, trying } = found;
  return (
    <li className="recommendation" data-testid="recommendation" data-segment={segment}>
      <header>
        <span className="rank">
          <span className="visually-hidden">Rank </span>
          {rank}
        </span>
        <div className="what">
          <h2>{capital(words(action))}</h2>
          <p>for {words(segment)}</p>
        </div>
        <p className="expected">
          <span className="figure">{percent(expected)}</span>
          <span className="label">expected to succeed</span>
        </p>
      </header>
      <div className="judged">
        <Interval lower={lower} upper={upper} expected={expected} mass={mass} />
        {probabilityBest !== null && (
          <p className="sure">
            <span className="meter" aria-hidden="true">
              <span style={{ width: `${probabilityBest * 100}%` }} />
            </span>
            <strong>{percent(probabilityBest)}</strong> sure that it is the best of {found.evidence.length}
          </p>
        )}
      </div>
      <p className="rationale">{rationale}</p>
      {trying !== null && (
        <p className="trying">
          <span aria-hidden="true">⚗</span> Just now {words(trying)} was tried, to learn more about it.
        </p>
      )}
      <Trend segment={found} />
      <footer>
        <details>
          <summary>All {plural(found.evidence.length, "action")}</summary>
          <EvidenceTable segment={found} />
        </details>
        <Provenance event={found.newest} lane />
      </footer>
    </li>
  );
}

function Interval({ lower, upper, expected, mass }: { lower: number; upper: number; expected: number; mass: number }) {
  return (
    <div className="interval">
      <span className="axis" aria-hidden="true">
        <span className="range" style={{ left: `${lower * 100}%`, width: `${Math.max(0, upper - lower) * 100}%` }} />
        <span className="point" style={{ left: `${expected * 100}%` }} />
      </span>
      <p>
        {percent(lower)} to {percent(upper)} <span className="muted">with {percent(mass)} probability</span>
      </p>
    </div>
  );
}

function Trend({ segment: { points, changes } }: { segment: Segment }) {
  const first = points[0];
  const last = points.at(-1);
  if (!first || !last || points.length < 2) return null;
  const moved = (last.value - first.value) * 100;
  const sign = moved < 0 ? "down" : "up";
  const values = points.map(({ value }) => value);
  const range = `between ${percent(Math.min(...values))} and ${percent(Math.max(...values))}`;
  return (
    <div className="trend">
      <svg viewBox={`0 -3 ${CHART.width} ${CHART.height + 6}`} preserveAspectRatio="none" aria-hidden="true">
        <polyline points={polyline(points, CHART.width, CHART.height)} />
      </svg>
      <p>
        <span className="signed" data-sign={sign}>
          <span aria-hidden="true">{sign === "down" ? "▼" : "▲"}</span> {moved < 0 ? "−" : "+"}
          {Math.abs(moved).toFixed(1)} points
        </span>{" "}
        <span className="muted">
          over the last {points.length} decisions, {range}
        </span>
      </p>
      {changes.length > 0 && (
        <ol className="changes" aria-label="Changes of the recommended action">
          {changes.slice(0, LISTED_CHANGES).map(({ at, from, to }) => (
            <li key={`${at}${to}`}>
              <Clock at={at} /> {words(from)} <span aria-hidden="true">→</span>
              <span className="visually-hidden"> became </span> <strong>{words(to)}</strong>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

function EvidenceTable({ segment: { evidence, action, segment } }: { segment: Segment }) {
  return (
    <div className="table-wrap">
      <table>
        <caption className="visually-hidden">What is known of each action for {words(segment)}</caption>
        <thead>
          <tr>
            <th scope="col">Action</th>
            <th scope="col" className="figure">
              Succeeded
            </th>
            <th scope="col" className="figure">
              Expected
            </th>
            <th scope="col" className="figure">
              Is the best
            </th>
          </tr>
        </thead>
        <tbody>
          {evidence.map((item) => (
            <tr key={item.action} data-chosen={item.action === action}>
              <th scope="row">
                {capital(words(item.action))}
                {item.action === action && <span className="muted"> recommended</span>}
              </th>
              <td className="figure">
                {item.successes.toLocaleString("en")} of {item.trials.toLocaleString("en")}
              </td>
              <td className="figure">{percent(item.mean)}</td>
              <td className="figure">{percent(item.probabilityBest)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function isRecommendation(event: { type: string }): event is RecommendationEvent {
  return event.type === "lanecast.ai.v1.StrategyRecommendation";
}
