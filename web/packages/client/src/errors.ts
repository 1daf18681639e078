// The one error type of the SDK. Everything that goes wrong reaches the caller as a LanecastError.

import { CODES, isRetryable } from "./codes.ts";

/** Details of a `LanecastError`. */
export interface LanecastErrorOptions {
  /** True where the same request may succeed later; the SDK itself retries connections. */
  readonly retryable: boolean;
  /** A sentence that says what to do. */
  readonly remediation: string;
  /** The channel concerned. */
  readonly channel?: string | undefined;
  /** The number in the registry of close codes, where the server gave one. */
  readonly closeCode?: number | undefined;
  readonly cause?: unknown;
}

/**
 * Something the SDK could not do. `code` is a constant for programs: one of the server's registry
 * (`CHANNEL_FORBIDDEN`, …) or one of the SDK's own (`TOKEN_UNAVAILABLE`, `CONNECT_TIMEOUT`, `CONNECTION_LOST`,
 * `BAD_FRAME`, `BAD_URL`, `CODEC_UNAVAILABLE`, `SLOW_READER`, `CLOSED`).
 */
export class LanecastError extends Error {
  override readonly name = "LanecastError";
  readonly code: string;
  readonly retryable: boolean;
  readonly remediation: string;
  readonly channel: string | undefined;
  readonly closeCode: number | undefined;

  constructor(code: string, message: string, options: LanecastErrorOptions) {
    super(message, { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable;
    this.remediation = options.remediation;
    this.channel = options.channel;
    this.closeCode = options.closeCode;
  }
}

/** Makes the error for a connection that ended with a close code. */
export function closeError(closeCode: number, reason: string): LanecastError {
  const known = CODES[closeCode];
  const code = known?.reason ?? "CONNECTION_LOST";
  const detail = reason === "" || reason === code ? "" : `: ${reason}`;
  return new LanecastError(code, `the connection ended (${closeCode} ${code})${detail}`, {
    retryable: isRetryable(closeCode),
    remediation: known?.advice ?? "Check that the gateway is reachable; the SDK reconnects by itself.",
    closeCode,
  });
}

/** Makes an error of the SDK's own. */
export function localError(code: string, message: string, remediation: string, cause?: unknown): LanecastError {
  return new LanecastError(code, message, { retryable: true, remediation, cause });
}

/** Makes the error of whatever is asked of a closed client. */
export function closedError(): LanecastError {
  return new LanecastError("CLOSED", "the client is closed", {
    retryable: false,
    remediation: "Make a new client with createClient.",
  });
}

/** Makes the error for what was thrown while connecting. */
export function asError(cause: unknown): LanecastError {
  if (cause instanceof LanecastError) return cause;
  if (cause instanceof DOMException) {
    // The WebSocket constructor refuses an address that cannot work, however often it is tried.
    const remediation = "Pass a ws:// or wss:// address; a page served over https needs wss.";
    return new LanecastError("BAD_URL", cause.message, { retryable: false, remediation, cause });
  }
  return localError("CONNECTION_LOST", String(cause), "Check the gateway's address; the SDK tries again.", cause);
}
