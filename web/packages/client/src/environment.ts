// What the SDK takes from its surroundings, in one place: sockets, clock, chance and the life of the page. A test brings
// its own; Node brings a WebSocket where it has none.

import type { Micros } from "./frames.ts";

/** The part of `WebSocket` the SDK uses. */
export interface WebSocketLike {
  binaryType: string;
  readonly protocol: string;
  readonly readyState: number;
  onopen: (() => void) | null;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null;
  onerror: (() => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

/** The part of an event of the page's life the SDK looks at. */
export interface LifecycleEvent {
  readonly type?: string;
  /** Of `pagehide`: the page may be shown again as it is. */
  readonly persisted?: boolean;
}

/** The part of `window` and `document` the SDK listens to. */
export interface LifecycleTarget {
  addEventListener(type: string, listener: (event: LifecycleEvent) => void): void;
  removeEventListener(type: string, listener: (event: LifecycleEvent) => void): void;
}

export interface Environment {
  readonly openSocket: (url: string, subprotocol: string) => WebSocketLike;
  /** Used for polls only. */
  readonly fetch: (url: string, options: RequestInit) => Promise<Response>;
  /** A clock that never goes back. */
  readonly now: () => Micros;
  /** The clock that people set. */
  readonly wallClock: () => Micros;
  /** The grain of `now`, in microseconds. */
  readonly resolution: number;
  readonly random: () => number;
  /** Says `visibilitychange`, `pageshow`, `pagehide` and `online`. */
  readonly lifecycle: readonly LifecycleTarget[];
  /** True while nobody can see the page. */
  readonly hidden: () => boolean;
}

/** The environment of a browser, or of Node 22 and later. */
export function defaultEnvironment(): Environment {
  const page = typeof document === "undefined" ? null : document;
  return {
    openSocket: (url, subprotocol) => new WebSocket(url, subprotocol) as unknown as WebSocketLike,
    fetch: (url, options) => fetch(url, options),
    now: () => (performance.timeOrigin + performance.now()) * 1000,
    wallClock: () => Date.now() * 1000,
    resolution: globalThis.crossOriginIsolated === true ? 5 : 100,
    random: Math.random,
    lifecycle: page ? [globalThis, page] : [],
    hidden: () => page?.visibilityState === "hidden",
  };
}
