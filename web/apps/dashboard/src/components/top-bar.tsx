// Is it healthy now: grade, latency of the lane that matters most, connection, clock; hold still, light or dark.

import type { ConnectionState } from "@lanecast/client";
import { useStore } from "@lanecast/shared/store";
import { nextTheme, theme } from "@lanecast/shared/theme";
import { announcement } from "../announce.ts";
import { firing } from "../data/operations.ts";
import { duration } from "../format.ts";
import { LANE_INFO } from "../lanes.ts";
import type { Live } from "../live.ts";
import { GradeDetails } from "./grade.tsx";

interface Status {
  readonly text: string;
  readonly tone: "good" | "warn" | "bad";
}

const MARKS: Readonly<Record<Status["tone"], string>> = { good: "●", warn: "◐", bad: "✕" };

function statusOf(state: ConnectionState, problem: string | null): Status {
  if (problem !== null && state.status !== "connected") return { text: "No session", tone: "bad" };
  switch (state.status) {
    case "connected":
      return { text: "Connected", tone: "good" };
    case "reconnecting":
      return { text: "Reconnecting", tone: "warn" };
    case "failed":
      return { text: "Refused", tone: "bad" };
    case "closed":
      return { text: "Closed", tone: "bad" };
    default:
      return { text: "Connecting", tone: "warn" };
  }
}

export function TopBar({ live }: { live: Live }) {
  const state = useStore(live.connection);
  const problem = useStore(live.problem);
  const clock = useStore(live.clock);
  const { text, tone } = statusOf(state, problem);
  const trouble = problem ?? (state.error ? `${state.error.message}. ${state.error.remediation}` : null);
  return (
    <header className="top">
      <div className="brand">
        <img src="/icon.svg" alt="" width="28" height="28" />
        <div>
          <h1>Lanecast</h1>
          <p>AI events, live, each in its lane</p>
        </div>
      </div>
      <div className="controls">
        <Health live={live} />
        <span className="pill" data-tone={tone} data-testid="connection">
          <span aria-hidden="true">{MARKS[tone]}</span> <span data-brief={tone === "good"}>{text}</span>
        </span>
        {clock && (
          <span className="pill quiet wide" title="How far this browser's clock may be from the gateway's">
            clock ±{duration(clock.uncertaintyMs)}
          </span>
        )}
        <PauseButton live={live} />
        <ThemeButton />
      </div>
      {trouble !== null && state.status !== "connected" && <p className="trouble">{trouble}</p>}
      {problem !== null && state.status === "connected" && <p className="trouble">{problem}</p>}
    </header>
  );
}

/** The grade, and the median and 99th percentile of the lane with the tightest budget. */
function Health({ live }: { live: Live }) {
  const status = useStore(live.operations.status);
  const { lanes, state } = useStore(live.metrics.snapshot);
  const server = lanes.CRITICAL.server;
  const limit = LANE_INFO[0]?.budgetMs ?? 1;
  const over = server !== null && server.p99 > limit;
  return (
    <>
      <GradeDetails status={status} />
      <span
        className="pill vital"
        data-tone={server === null || state !== "live" ? "none" : over ? "bad" : "good"}
        title={`Lane critical, last minute, limit ${limit} ms`}
        data-testid="vital"
      >
        <span className="muted">critical</span>
        {server === null ? (
          <span>–</span>
        ) : (
          <>
            <span className="wide">
              <span className="muted">p50</span> {duration(server.p50)}
            </span>
            <span>
              <span className="muted">p99</span> {duration(server.p99)}{" "}
              <span aria-hidden="true">{over ? "✕" : "✓"}</span>
            </span>
          </>
        )}
      </span>
    </>
  );
}

function PauseButton({ live }: { live: Live }) {
  const { paused, missed } = useStore(live.feed.snapshot);
  const waiting = missed > 0 ? ` (${missed.toLocaleString("en")} new)` : "";
  return (
    <button type="button" aria-keyshortcuts="p" onClick={() => live.feed.setPaused(!paused)} title="Key: P">
      <span aria-hidden="true">{paused ? "▶" : "❚❚"}</span>{" "}
      <span className="word">{paused ? `Resume${waiting}` : "Pause"}</span>
    </button>
  );
}

function ThemeButton() {
  const choice = useStore(theme);
  const marks = { system: "◑", light: "☀", dark: "☾" } as const;
  return (
    <button type="button" onClick={nextTheme} aria-label={`Colours: ${choice}. Change`}>
      <span aria-hidden="true">{marks[choice]}</span> <span className="wide">{choice}</span>
    </button>
  );
}

/** The page's one status region: what changed in words, for who does not see the marks. */
export function Announcer({ live }: { live: Live }) {
  const state = useStore(live.connection);
  const problem = useStore(live.problem);
  const { paused } = useStore(live.feed.snapshot);
  const alerts = firing(useStore(live.operations.alerts).all.values()).length;
  const said = useStore(announcement);
  return (
    <p className="visually-hidden" role="status">
      {statusOf(state, problem).text}
      {paused ? ", paused" : ""}
      {alerts > 0 ? `, ${alerts} ${alerts === 1 ? "alert" : "alerts"} firing` : ""}
      {said !== "" && `. ${said}`}
    </p>
  );
}
