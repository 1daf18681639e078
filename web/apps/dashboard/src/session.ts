// Where to connect, what to subscribe to and with which token: asked from the server that gave this page.

import { LanecastError } from "@lanecast/client";

export interface Session {
  readonly gatewayUrls: readonly string[];
  readonly token: string;
  readonly channels: readonly string[];
}

/** Asks for a session. Called for each connection, since tokens end. */
export async function fetchSession(): Promise<Session> {
  const response = await fetch("/api/v1/session", { cache: "no-store", credentials: "same-origin" });
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return body as Session;
  const { reason = "SESSION_UNAVAILABLE", message = `the server answered ${response.status}` } = (body ?? {}) as {
    reason?: string;
    message?: string;
  };
  throw new LanecastError(reason, message, {
    retryable: response.status >= 500 || response.status === 429,
    remediation: "Open this page on the machine that runs `lanecast up`.",
  });
}
