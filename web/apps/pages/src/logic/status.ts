// What to say about the connection. Pure; every state but the good one comes with a sentence that says what to do.

import type { ConnectionState } from "@lanecast/client";

export type Tone = "good" | "warn" | "bad";

export interface Status {
  readonly label: string;
  readonly tone: Tone;
  /** What it means and what to do; null: nothing is to be done. */
  readonly advice: string | null;
  readonly canRetry: boolean;
}

export interface Circumstances {
  readonly state: ConnectionState;
  readonly online: boolean;
  /** Milliseconds since the Unix epoch. */
  readonly now: number;
}

export function statusOf({ state, online, now }: Circumstances): Status {
  if (state.status === "connected") return { label: "Live", tone: "good", advice: null, canRetry: false };
  if (!online) {
    return {
      label: "Offline",
      tone: "warn",
      advice: "No network. You see what this device has kept; what you miss is fetched when the network is back.",
      canRetry: false,
    };
  }
  switch (state.status) {
    case "polling":
      return {
        label: "Polling",
        tone: "warn",
        advice: "The direct connection is blocked here, so critical insights are fetched every few seconds.",
        canRetry: false,
      };
    case "reconnecting":
      return { label: "Reconnecting", tone: "warn", advice: reconnecting(state.retryAt, now), canRetry: false };
    case "failed": {
      const { message = "the connection was refused", remediation = "" } = state.error ?? {};
      return { label: "Stopped", tone: "bad", advice: `${sentence(message)} ${remediation}`.trim(), canRetry: true };
    }
    case "closed":
      return { label: "Closed", tone: "bad", advice: "Reload the page to connect again.", canRetry: false };
    default:
      return { label: "Connecting", tone: "warn", advice: null, canRetry: false };
  }
}

function reconnecting(retryAt: number | null, now: number): string {
  const seconds = retryAt === null ? 0 : Math.ceil((retryAt - now) / 1_000);
  const when = seconds > 0 ? `trying again in ${seconds} s` : "trying again now";
  return `The connection was lost; ${when}. What you miss meanwhile is fetched afterwards.`;
}

function sentence(text: string): string {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
