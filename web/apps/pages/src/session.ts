// Where to connect, what to subscribe to and with which token: asked from the server that gave these pages. All but the
// token is remembered, so that a device without a network knows which channels it has kept.

import { LanecastError } from "@lanecast/client";

export interface Session {
  readonly gatewayUrls: readonly string[];
  readonly channels: readonly string[];
}

const KEY = "lanecast.pages.session";

/** Asks for a session and its token. Called for each connection, since tokens end. */
export async function fetchSession(): Promise<Session & { readonly token: string }> {
  const response = await fetch("/api/v1/session", { cache: "no-store", credentials: "same-origin" });
  const body: unknown = await response.json().catch(() => null);
  if (response.ok && isSession(body)) {
    remember(body);
    return body as Session & { token: string };
  }
  const { reason = "SESSION_UNAVAILABLE", message = `the server answered ${response.status}` } = (body ?? {}) as {
    reason?: string;
    message?: string;
  };
  throw new LanecastError(reason, message, {
    retryable: response.status >= 500 || response.status === 429,
    remediation: "Open these pages on the machine that runs Lanecast, or ask its operator for access.",
  });
}

/** The last session of this device, without a token; null where there was none. */
export function rememberedSession(): Session | null {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "null");
    return isSession(kept) ? kept : null;
  } catch {
    return null;
  }
}

function remember({ gatewayUrls, channels }: Session): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ gatewayUrls, channels }));
  } catch {
    // Without storage the pages work as long as there is a network.
  }
}

function isSession(value: unknown): value is Session {
  const { gatewayUrls, channels } = (value ?? {}) as Partial<Session>;
  return Array.isArray(gatewayUrls) && gatewayUrls.length > 0 && Array.isArray(channels);
}
