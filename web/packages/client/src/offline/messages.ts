// What a page and its service worker say to each other: a message with a port on it, and one answer. Types, and the one
// way to ask; used on both sides.

/** Why the worker woke up. */
export type WakeCause = "sync" | "periodicsync" | "push" | "page" | "message";

/** The newest time the worker polled. */
export interface WorkerPoll {
  /** When it was done, milliseconds since the Unix epoch. */
  readonly at: number;
  readonly cause: WakeCause;
  /** Events that were new. */
  readonly events: number;
  /** `ok`; nothing is watched; no page, and no `getToken` of the worker, had a token; the gateway refused it, or could not
   * be reached; what came could not be kept. */
  readonly outcome: "ok" | "nothing-watched" | "no-token" | "refused" | "unreachable" | "not-kept";
}

export interface WorkerStatus {
  readonly version: string;
  /** Whether this browser wakes the worker by push messages, by background sync, and from time to time. */
  readonly push: boolean;
  readonly sync: boolean;
  readonly periodicSync: boolean;
  /** Null: not since the worker was started last. */
  readonly lastPoll: WorkerPoll | null;
}

export type WorkerRequest =
  | { readonly lanecast: "status" }
  | { readonly lanecast: "wake" }
  | { readonly lanecast: "activate" };

/** Asked by the worker: a token of this user. The answer is the token, or null. */
export interface TokenRequest {
  readonly lanecast: "token";
  readonly user: string;
}

/** The tag of the background syncs that poll. */
export const POLL_SYNC = "lanecast-poll";
const ANSWER_MS = 5_000;

/** Sends a message and resolves with the answer; null where none comes in time. */
export function ask<T>(
  to: { postMessage(message: unknown, transfer: Transferable[]): void },
  message: WorkerRequest | TokenRequest,
  timeoutMs: number = ANSWER_MS,
): Promise<T | null> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    const done = (value: T | null) => {
      clearTimeout(timer);
      port1.close();
      resolve(value);
    };
    const timer = setTimeout(() => done(null), timeoutMs);
    port1.onmessage = ({ data }) => done(data as T);
    to.postMessage(message, [port2]);
  });
}
