// Is it connected, how well is the clock known, hold still, light or dark.

import type { ConnectionState } from "@lanecast/client";
import { duration } from "../format.ts";
import type { Live } from "../live.ts";
import { useStore } from "../store.ts";
import { nextTheme, theme } from "../theme.ts";

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
        <span className="pill" data-tone={tone} data-testid="connection">
          <span aria-hidden="true">{MARKS[tone]}</span> {text}
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

function PauseButton({ live }: { live: Live }) {
  const { paused, missed } = useStore(live.feed.snapshot);
  const waiting = missed > 0 ? ` (${missed.toLocaleString("en")} new)` : "";
  return (
    <button type="button" aria-keyshortcuts="p" onClick={() => live.feed.setPaused(!paused)} title="Key: P">
      <span aria-hidden="true">{paused ? "▶" : "❚❚"}</span> {paused ? `Resume${waiting}` : "Pause"}
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
  return (
    <p className="visually-hidden" role="status">
      {statusOf(state, problem).text}
      {paused ? ", paused" : ""}
    </p>
  );
}
