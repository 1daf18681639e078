// A gateway in memory that speaks the JSON subprotocol: a test says what it sends and sees what it was sent.

import { vi } from "vitest";
// Loaded here so that a client finds it at once: real time does not pass in these tests.
import "../src/json.ts";
import type { Environment, WebSocketLike } from "../src/environment.ts";

export type JsonFrame = Record<string, Record<string, unknown>>;

/** One socket the client has opened. */
export class FakeSocket implements WebSocketLike {
  binaryType = "";
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { readonly data: unknown }) => void) | null = null;
  onclose: ((event: { readonly code: number; readonly reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly sent: JsonFrame[] = [];
  closedWith: number | undefined;

  constructor(
    readonly url: string,
    readonly protocol: string,
  ) {}

  send(data: string | Uint8Array<ArrayBuffer>): void {
    this.sent.push(JSON.parse(data as string));
  }

  close(code?: number): void {
    this.readyState = 3;
    this.closedWith = code;
  }

  /** The connection is made. */
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  /** The gateway sends a frame. */
  push(frame: JsonFrame): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** The gateway, or the network, ends the connection. */
  drop(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  /** Frames of one kind the client has sent. */
  commands(kind: string): Record<string, unknown>[] {
    return this.sent.flatMap((frame) => (frame[kind] ? [frame[kind]] : []));
  }

  get lastCommand(): JsonFrame | undefined {
    return this.sent.at(-1);
  }
}

/** One poll the client has sent, until the test answers it. */
export class FakePoll {
  readonly query: URLSearchParams;
  readonly aborted: () => boolean;
  #answer: (response: Response) => void = () => {};
  #fail: (error: Error) => void = () => {};
  readonly response: Promise<Response>;

  constructor(
    readonly url: string,
    readonly options: RequestInit,
  ) {
    this.query = new URL(url).searchParams;
    this.aborted = () => options.signal?.aborted === true;
    this.response = new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#fail = reject;
      options.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    });
  }

  get token(): string | undefined {
    return (this.options.headers as Record<string, string>).Authorization;
  }

  /** The cursor it begins behind, as the gateway reads it. */
  get after(): unknown {
    const text = this.query.get("after");
    return text ? JSON.parse(Buffer.from(text, "base64url").toString()) : {};
  }

  async answer(frames: readonly JsonFrame[], status = 200): Promise<void> {
    const headers = { "Content-Type": "application/json" };
    this.#answer(new Response(JSON.stringify({ frames, next: "" }), { status, headers }));
    await vi.advanceTimersByTimeAsync(0);
  }

  async fail(): Promise<void> {
    this.#fail(new TypeError("no network"));
    await vi.advanceTimersByTimeAsync(0);
  }
}

export class FakeGateway {
  readonly sockets: FakeSocket[] = [];
  readonly polls: FakePoll[] = [];
  readonly lifecycle = new EventTarget();
  hidden = false;
  /** The gateway's clock less the client's, in microseconds. */
  skew = 0;
  random = 0.5;
  /** What the clock that people set is ahead of the other, in microseconds. */
  wallAhead = 0;
  /** How long the process is held while it reads the wall clock, in milliseconds. */
  heldMs = 0;

  /** What the client under test is given. The clock is the one that `vi.useFakeTimers` moves. */
  readonly environment: Partial<Environment> = {
    openSocket: (url, subprotocol) => {
      const socket = new FakeSocket(url, subprotocol);
      this.sockets.push(socket);
      return socket;
    },
    fetch: (url, options) => {
      const poll = new FakePoll(url, options);
      this.polls.push(poll);
      return poll.response;
    },
    now: () => Date.now() * 1000,
    wallClock: () => {
      vi.setSystemTime(Date.now() + this.heldMs);
      return Date.now() * 1000 + this.wallAhead;
    },
    resolution: 0,
    random: () => this.random,
    lifecycle: [this.lifecycle],
    hidden: () => this.hidden,
  };

  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("the client has opened no socket");
    return socket;
  }

  /** Lets promises and due timers run until the client has opened its socket number `count`. */
  async opened(count: number): Promise<FakeSocket> {
    for (let turn = 0; turn < 20 && this.sockets.length < count; turn++) await vi.advanceTimersByTimeAsync(0);
    const socket = this.sockets[count - 1];
    if (!socket) throw new Error(`expected ${count} sockets, saw ${this.sockets.length}`);
    return socket;
  }

  /** Lets promises run until the client has sent its poll number `count`. */
  async polled(count: number): Promise<FakePoll> {
    for (let turn = 0; turn < 200 && this.polls.length < count; turn++) {
      await vi.advanceTimersByTimeAsync(0);
      await new Promise(setImmediate); // the module of the polls is loaded outside of the test's time
    }
    const poll = this.polls[count - 1];
    if (!poll) throw new Error(`expected ${count} polls, saw ${this.polls.length}`);
    return poll;
  }

  /** Opens socket number `count` and welcomes the client. */
  async welcome(count = 1, fields: Record<string, unknown> = {}): Promise<FakeSocket> {
    const socket = await this.opened(count);
    socket.open();
    socket.push({
      welcome: { session: `session-${count}`, serverTimeUnixNano: this.nanos(), heartbeatMillis: 15_000, ...fields },
    });
    await vi.advanceTimersByTimeAsync(0);
    return socket;
  }

  /** The gateway's time `agoMs` milliseconds ago, as ProtoJSON writes it. */
  nanos(agoMs = 0): string {
    return String(BigInt(Math.round((Date.now() - agoMs) * 1000 + this.skew)) * 1000n);
  }
}

export function subscribed(channel: string, positions: readonly [string, string, number][], extra = {}): JsonFrame {
  return {
    subscribed: {
      channel,
      positions: positions.map(([lane, epoch, offset]) => ({ lane: `PRIORITY_${lane}`, epoch, offset: `${offset}` })),
      ...extra,
    },
  };
}

/** A batch of one channel and lane; each event is `[prevOffset, offset]`. */
export function batch(
  channel: string,
  lane: string,
  epoch: string,
  events: readonly (readonly [number, number])[],
  extra: Record<string, unknown> = {},
  event: Record<string, unknown> = {},
): JsonFrame {
  return {
    events: {
      channel,
      lane: `PRIORITY_${lane}`,
      epoch,
      events: events.map(([prevOffset, offset]) => ({
        id: `id-${offset}`,
        source: "test",
        prevOffset: `${prevOffset}`,
        offset: `${offset}`,
        data: { "@type": "type.googleapis.com/lanecast.ai.v1.ConciergeInsight", text: `event ${offset}` },
        ...event,
      })),
      ...extra,
    },
  };
}
