// One event: what it says, which lane it took, how long it was on its way.

import type { Latency } from "@lanecast/client";
import { memo, useState } from "react";
import type { AiEvent, Item } from "../feed.ts";
import { clockTime, duration } from "../format.ts";
import { HOP_LABELS } from "../lanes.ts";
import { Explanation } from "./cards/explanation.tsx";
import { Handoff } from "./cards/handoff.tsx";
import { Insight } from "./cards/insight.tsx";
import { Recommendation } from "./cards/recommendation.tsx";
import { PlaceBar } from "./place-bar.tsx";
import { Shape } from "./shape.tsx";

const KINDS: Readonly<Record<AiEvent["type"], string>> = {
  "lanecast.ai.v1.ConciergeInsight": "Concierge insight",
  "lanecast.ai.v1.BotHandoff": "Bot handoff",
  "lanecast.ai.v1.ShapExplanation": "SHAP explanation",
  "lanecast.ai.v1.StrategyRecommendation": "Recommendation",
};

export const EventCard = memo(function EventCard({ item }: { item: Item }) {
  const { event, arrived } = item;
  return (
    <article className="card" data-lane={event.lane} data-type={event.type} data-delivery={event.delivery}>
      <header>
        <span className="kind">
          <Shape lane={event.lane} />
          <span className="visually-hidden">Lane {event.lane.toLowerCase()}:</span> {KINDS[event.type] ?? event.type}
        </span>
        <LatencyBadge latency={event.latency} delivery={event.delivery} />
      </header>
      <Body event={event} />
      <footer>
        <span className="origin">{event.source ? `${event.source} → ${event.channel}` : event.channel}</span>
        <time dateTime={arrived.toISOString()}>{clockTime(event.createTime ?? arrived)}</time>
      </footer>
      <Journey event={event} />
    </article>
  );
});

function Body({ event }: { event: AiEvent }) {
  switch (event.type) {
    case "lanecast.ai.v1.ConciergeInsight":
      return <Insight data={event.data} />;
    case "lanecast.ai.v1.BotHandoff":
      return <Handoff data={event.data} />;
    case "lanecast.ai.v1.ShapExplanation":
      return <Explanation data={event.data} />;
    case "lanecast.ai.v1.StrategyRecommendation":
      return <Recommendation data={event.data} />;
    default:
      // A type this page has no card for.
      return <pre className="raw">{JSON.stringify((event as { data: unknown }).data, null, 1).slice(0, 400)}</pre>;
  }
}

const GRADE_MARKS: Readonly<Record<Latency["grade"], string>> = {
  excellent: "✓",
  good: "✓",
  warning: "▲",
  critical: "✕",
  unknown: "?",
};

/** What is said in place of a latency, of events that did not come live. */
const OTHER_WAYS: Readonly<Partial<Record<AiEvent["delivery"], { text: string; why: string }>>> = {
  recovered: { text: "from the log", why: "Published before this page was connected; read from the log" },
  polled: { text: "polled", why: "Fetched over HTTP, since the WebSocket is blocked; a poll's wait is no latency" },
  cached: { text: "stored here", why: "Kept by this browser from an earlier visit" },
};

function LatencyBadge({ latency, delivery }: { latency: Latency | null; delivery: AiEvent["delivery"] }) {
  const other = OTHER_WAYS[delivery];
  if (other) {
    return (
      <span className="latency" data-grade="none" title={other.why}>
        {other.text}
      </span>
    );
  }
  if (latency === null) {
    return (
      <span className="latency" data-grade="none" title="The clocks were not compared yet">
        not measured
      </span>
    );
  }
  const { oneWayMs, uncertaintyMs, grade } = latency;
  return (
    <span
      className="latency"
      data-grade={grade}
      data-ms={oneWayMs.toFixed(3)}
      title={`From the AI service's SDK to this page: ${grade}`}
    >
      <span aria-hidden="true">{GRADE_MARKS[grade]}</span> {duration(oneWayMs)}{" "}
      <span className="muted">±{duration(uncertaintyMs)}</span>
    </span>
  );
}

/** The way of this very event; made only when it is asked for. */
function Journey({ event }: { event: AiEvent }) {
  const [open, setOpen] = useState(false);
  return (
    <details className="journey" onToggle={(toggle) => setOpen(toggle.currentTarget.open)}>
      <summary>How it travelled</summary>
      {open && (
        <>
          {event.latency && <Hops latency={event.latency} />}
          <dl>
            <dt>position</dt>
            <dd>
              {event.epoch} : {String(event.offset)}
            </dd>
            <dt>id</dt>
            <dd>{event.id}</dd>
            <dt>type</dt>
            <dd>{event.type}</dd>
          </dl>
        </>
      )}
    </details>
  );
}

function Hops({ latency }: { latency: Latency }) {
  return (
    <>
      <PlaceBar hops={latency.hops} label="Time of this event at each place" />
      <dl>
        {Object.entries(latency.hops).map(([hop, ms]) => (
          <div key={hop}>
            <dt>{HOP_LABELS[hop as keyof typeof HOP_LABELS]}</dt>
            <dd>{duration(ms)}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}
