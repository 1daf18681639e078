// One WebSocket from opening to closing: hello, welcome, heartbeat, pacing of commands. Owned by the client, which makes
// a new one for each attempt; nothing here outlives its socket.

import type { ClockEstimator } from "./clock.ts";
import type { Environment, WebSocketLike } from "./environment.ts";
import { closeError, type LanecastError, localError } from "./errors.ts";
import type { ClientFrame, Codec, Micros, ServerFrame, WelcomeFrame } from "./frames.ts";
import { VERSION } from "./version.ts";

/** Time from opening the socket to `welcome`, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Pings asked for after `welcome`, from whose exchanges the clock is learnt; the server allows 8. */
const CLOCK_PROBES = 8;
/** Heartbeat where the server names none, in milliseconds. */
const DEFAULT_HEARTBEAT_MS = 15_000;

export interface ConnectionEvents {
  welcome(frame: WelcomeFrame): void;
  /** Every other frame but pings; `received` is the time of its message. */
  frame(frame: ServerFrame, received: Micros): void;
  /** Said once; nothing is said afterwards. */
  closed(error: LanecastError): void;
}

export class Connection {
  readonly #socket: WebSocketLike;
  readonly #codec: Codec;
  readonly #environment: Environment;
  readonly #clock: ClockEstimator;
  #events: ConnectionEvents | null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pacer: ReturnType<typeof setTimeout> | undefined;
  readonly #waiting: ClientFrame[] = [];
  #allowance = Number.POSITIVE_INFINITY;
  #perSecond = 0;
  #heartbeatMs = DEFAULT_HEARTBEAT_MS;
  #probes = 0;
  #helloSent: Micros = 0;
  #lastHeard: Micros;
  #fatal: LanecastError | null = null;

  constructor(
    url: string,
    token: string,
    codec: Codec,
    environment: Environment,
    clock: ClockEstimator,
    events: ConnectionEvents,
  ) {
    this.#codec = codec;
    this.#environment = environment;
    this.#clock = clock;
    this.#events = events;
    this.#lastHeard = environment.now();
    this.#socket = environment.openSocket(url, codec.subprotocol);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#hello(token);
    this.#socket.onmessage = (event) => this.#message(event.data);
    this.#socket.onclose = (event) => this.#end(this.#fatal ?? closeError(event.code, event.reason));
    this.#timer = setTimeout(() => {
      this.abandon(
        localError("CONNECT_TIMEOUT", `no welcome from ${url} within 10 s`, "Check that the gateway is running there."),
      );
    }, CONNECT_TIMEOUT_MS);
  }

  /** Sends a command, at most as many a second as the server allows; the rest wait their turn. */
  command(frame: ClientFrame): void {
    this.#waiting.push(frame);
    this.#release();
  }

  /** Number of commands that wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Ends the connection if the server has been silent for two heartbeats, by the clock and not by counted timers. */
  checkAlive(): void {
    const silentMs = (this.#environment.now() - this.#lastHeard) / 1000;
    if (silentMs <= 2 * this.#heartbeatMs) return;
    const seconds = Math.round(silentMs / 1000);
    this.abandon(
      localError("CONNECTION_LOST", `nothing heard from the server for ${seconds} s`, "The SDK reconnects by itself."),
    );
  }

  /** Closes at once for a reason of the client's; `closed` is told without waiting for the other side. */
  abandon(error: LanecastError): void {
    this.#end(error);
  }

  /** Closes at once and tells nobody. */
  close(): void {
    this.#events = null;
    this.#end(null);
  }

  #hello(token: string): void {
    this.#helloSent = this.#environment.now();
    this.#send({ kind: "hello", token, client: `@lanecast/client ${VERSION}` });
  }

  #message(data: unknown): void {
    const received = this.#environment.now();
    this.#lastHeard = received;
    let frame: ServerFrame | null;
    try {
      frame = this.#codec.decode(data as string | ArrayBuffer);
    } catch (cause) {
      const remediation = "Use a client and a gateway of compatible versions.";
      this.abandon(localError("BAD_FRAME", "the server sent a frame that cannot be read", remediation, cause));
      return;
    }
    if (frame) this.#dispatch(frame, received);
  }

  #dispatch(frame: ServerFrame, received: Micros): void {
    switch (frame.kind) {
      case "welcome":
        this.#welcome(frame, received);
        return;
      case "ping":
        this.#clock.ping(frame, received);
        this.#pong(frame.sequence, received);
        return;
      case "events":
        if (!frame.replayed && frame.edgeSendTime > 0) this.#clock.received(frame.edgeSendTime, received);
        break;
      case "error":
        if (frame.fatal) this.#fatal = closeError(frame.code, frame.message);
        break;
    }
    this.#events?.frame(frame, received);
  }

  #welcome(frame: WelcomeFrame, received: Micros): void {
    clearTimeout(this.#timer);
    this.#clock.answered(this.#helloSent, frame.serverTime);
    this.#clock.received(frame.serverTime, received);
    this.#heartbeatMs = frame.heartbeatMs || DEFAULT_HEARTBEAT_MS;
    if (frame.maxCommandsPerSecond > 0) {
      this.#perSecond = frame.maxCommandsPerSecond;
      this.#allowance = frame.maxCommandsPerSecond;
    }
    this.#watch();
    this.#events?.welcome(frame); // subscribes; the clock can wait for that
    this.#probes = CLOCK_PROBES;
    this.#pong(0n, received);
  }

  /** Answers a ping, and asks for the next one at once while the clock is being learnt. */
  #pong(sequence: bigint, receive: Micros): void {
    const probe = this.#probes > 0;
    if (probe) this.#probes -= 1;
    this.#send({ kind: "pong", sequence, receive, send: this.#environment.now(), probe });
  }

  #watch(): void {
    this.#timer = setTimeout(() => {
      this.#watch();
      this.checkAlive();
    }, this.#heartbeatMs);
  }

  #release(): void {
    while (this.#waiting.length > 0 && this.#allowance >= 1) {
      this.#allowance -= 1;
      const frame = this.#waiting.shift();
      if (frame) this.#send(frame);
    }
    if (this.#perSecond > 0 && this.#pacer === undefined) {
      this.#pacer = setTimeout(() => {
        this.#pacer = undefined;
        this.#allowance = this.#perSecond;
        if (this.#waiting.length > 0) this.#release();
      }, 1000);
    }
  }

  #send(frame: ClientFrame): void {
    if (this.#socket.readyState === 1) this.#socket.send(this.#codec.encode(frame));
  }

  #end(error: LanecastError | null): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#pacer);
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (socket.readyState <= 1) socket.close(1000);
    const events = this.#events;
    this.#events = null;
    if (error) events?.closed(error);
  }
}
