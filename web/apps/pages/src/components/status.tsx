// The connection of a page: its state, the measured latency, and on demand everything that is known about it.

import type { LatencyGrade } from "@lanecast/client";
import { type Capabilities, capabilities } from "@lanecast/client/offline";
import { type LatencyView, useClient, useConnection, useLatency } from "@lanecast/client/react";
import { useEffect, useState } from "react";
import { duration, plural } from "../format.ts";
import type { ContinuityView } from "../hooks/continuity.ts";
import { useNow } from "../hooks/now.ts";
import { useOnline } from "../hooks/surroundings.ts";
import { type Status, statusOf, type Tone } from "../logic/status.ts";

const TONE_MARKS: Readonly<Record<Tone, string>> = { good: "●", warn: "◐", bad: "✕" };
const GRADE_MARKS: Readonly<Record<LatencyGrade, string>> = {
  excellent: "✓",
  good: "✓",
  warning: "▲",
  critical: "✕",
  unknown: "?",
};

export function useStatus(): Status {
  const state = useConnection();
  const online = useOnline();
  const now = useNow();
  return statusOf({ state, online, now });
}

export function StatusBar({ channel, continuity }: { channel: string; continuity: ContinuityView }) {
  const status = useStatus();
  const latency = useLatency(channel);
  return (
    <details className="status" data-testid="status">
      <summary>
        <span className="pill" data-tone={status.tone} data-testid="connection">
          <span aria-hidden="true">{TONE_MARKS[status.tone]}</span> {status.label}
        </span>
        {latency && <LatencyPill latency={latency} />}
        <span className="visually-hidden">Details of the connection</span>
      </summary>
      <StatusDetails channel={channel} continuity={continuity} latency={latency} />
    </details>
  );
}

function LatencyPill({ latency }: { latency: LatencyView }) {
  const { p50Ms, uncertaintyMs, grade } = latency;
  return (
    <span className="pill latency" data-grade={grade} title="Median from the AI service to this page, newest events">
      <span aria-hidden="true">{GRADE_MARKS[grade]}</span> {duration(p50Ms)}
      <span className="bound"> ±{duration(uncertaintyMs)}</span>
      <span className="grade">{grade}</span>
    </span>
  );
}

function StatusDetails({
  channel,
  continuity: { counts, gaps },
  latency,
}: {
  channel: string;
  continuity: ContinuityView;
  latency: LatencyView | null;
}) {
  const { clock } = useClient();
  const device = useCapabilities();
  return (
    <dl className="status-details">
      <dt>Channel</dt>
      <dd>{channel}</dd>
      <dt>Latency</dt>
      <dd>
        {latency
          ? `half below ${duration(latency.p50Ms)}, 95 of 100 below ${duration(latency.p95Ms)}, of ${plural(latency.count, "live event")}`
          : "not measured yet: no live event has come"}
      </dd>
      <dt>Clock</dt>
      <dd>
        {clock
          ? `compared with the gateway's, wrong by at most ${duration(clock.uncertaintyMicros / 1_000)}`
          : "not compared yet"}
      </dd>
      <dt>Continuity</dt>
      <dd data-testid="continuity">{continuityText(counts, gaps.length)}</dd>
      <dt>This device</dt>
      <dd>{device ? deviceText(device) : "…"}</dd>
    </dl>
  );
}

function continuityText(counts: ContinuityView["counts"], gaps: number): string {
  if (!counts) return "nothing received yet";
  const parts = [plural(counts.delivered, "event")];
  if (counts.resumes > 0) parts.push(`resumed ${plural(counts.resumes, "time")}`);
  if (counts.duplicates > 0) parts.push(`${plural(counts.duplicates, "repeat")} dropped`);
  parts.push(
    gaps === 0 && counts.gaps === 0 ? "nothing missing" : `${plural(Math.max(gaps, counts.gaps), "gap")}, shown`,
  );
  return parts.join(", ");
}

function deviceText({ storage, persistent, serviceWorker }: Capabilities): string {
  if (!storage) return "keeps nothing: this browser has no storage for it";
  const opens = serviceWorker ? "opens without a network" : "cannot open without a network";
  return `${opens}, keeps the newest events${persistent ? "" : " until the browser needs the room"}`;
}

function useCapabilities(): Capabilities | null {
  const [found, setFound] = useState<Capabilities | null>(null);
  useEffect(() => {
    let wanted = true;
    void capabilities().then((value) => wanted && setFound(value));
    return () => {
      wanted = false;
    };
  }, []);
  return found;
}

/** What is wrong and what to do, above the content; nothing where all is well. */
export function Advice() {
  const { advice, tone, canRetry } = useStatus();
  const client = useClient();
  if (advice === null) return null;
  return (
    <div className="advice" data-tone={tone}>
      <p>{advice}</p>
      {canRetry && (
        // A refusal is told by the state, not by the promise.
        <button type="button" onClick={() => void client.connect().catch(() => {})}>
          Try again
        </button>
      )}
    </div>
  );
}
