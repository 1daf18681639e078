// Polls the channels of a client, as long as it has no connection: several long polls side by side, each taken up anew
// where its channels stand. Loaded when it is first needed; the fallback owns it.

import { Backoff, type BackoffOptions } from "./backoff.ts";
import type { Environment } from "./environment.ts";
import { closeError, LanecastError } from "./errors.ts";
import type { ServerFrame } from "./frames.ts";
import { type ChannelPosition, groups, type PollAnswer, poll } from "./poll.ts";

/** How long an answer may be held back for want of events, in seconds; proxies cut what takes 30. */
const WAIT_SECONDS = 25;
/** Polls side by side: browsers open six connections to a server, and the page needs some of them. */
const LOOPS = 4;

export interface PollerHost {
  /** The channels to be polled, each with where it stands now. */
  channels(): readonly ChannelPosition[];
  token(): Promise<string>;
  take(frame: ServerFrame): void;
  /** Told after each poll whether it was answered. */
  works(works: boolean): void;
  /** Told where trying on is of no use; nothing is polled afterwards. */
  failed(error: LanecastError): void;
}

export class Poller {
  readonly #url: string;
  readonly #environment: Environment;
  readonly #host: PollerHost;
  readonly #backoff: Backoff;
  #running: AbortController | null = null;
  #starting = false;
  #stopped = false;
  /** Kept until the gateway refuses it: events may come many times a second. */
  #token: Promise<string> | null = null;
  #refusals = 0;

  constructor(url: string, environment: Environment, backoff: BackoffOptions, host: PollerHost) {
    this.#url = url;
    this.#environment = environment;
    this.#host = host;
    this.#backoff = new Backoff(backoff, environment.random);
  }

  /** Takes up all polls anew, from where the channels stand. Several calls of one moment count as one. */
  restart(): void {
    this.#running?.abort();
    if (this.#starting || this.#stopped) return;
    this.#starting = true;
    queueMicrotask(() => {
      this.#starting = false;
      this.#start();
    });
  }

  /** Ends all polls; what they would still bring is not taken. Idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#running?.abort();
  }

  #start(): void {
    if (this.#stopped) return;
    const running = new AbortController();
    this.#running = running;
    const all = groups(this.#host.channels()).map((group) => group.map(({ channel }) => channel));
    for (let index = 0; index < Math.min(LOOPS, all.length); index += 1) {
      const mine = all.filter((_, place) => place % LOOPS === index);
      void this.#loop(mine, running.signal);
    }
  }

  /** Polls groups in turn: at the start, and after a failure, for what is there, so that it is soon known whether polls
   * work; then for what comes. Never rejects. */
  async #loop(mine: readonly string[][], signal: AbortSignal): Promise<void> {
    const patience = Math.max(1, Math.floor(WAIT_SECONDS / mine.length));
    let answered = 0;
    for (let turn = 0; !signal.aborted; turn += 1) {
      const group = mine[turn % mine.length] ?? [];
      const delay = await this.#round(group, answered < mine.length ? 0 : patience, signal);
      answered = delay > 0 ? 0 : answered + 1;
      if (delay > 0) await pause(delay, signal);
    }
  }

  /** Polls once; returns how long to wait before the next poll, in milliseconds. */
  async #round(names: readonly string[], wait: number, signal: AbortSignal): Promise<number> {
    const channels = this.#host.channels().filter(({ channel }) => names.includes(channel));
    try {
      this.#token ??= this.#host.token();
      const answer = await poll(this.#url, channels, wait, await this.#token, this.#environment.fetch, signal);
      if (signal.aborted) return 0;
      return answer.status === 200 ? this.#taken(answer, signal) : this.#refused(answer);
    } catch (cause) {
      if (signal.aborted) return 0;
      this.#token = null;
      // Only `getToken` gives up for good; a network that fails does not.
      if (cause instanceof LanecastError && !cause.retryable) this.#fail(cause);
      else this.#host.works(false);
      return this.#backoff.next();
    }
  }

  #taken({ frames }: PollAnswer, signal: AbortSignal): number {
    this.#refusals = 0;
    this.#host.works(true);
    let delay = 0;
    for (const frame of frames) {
      // A hole has restarted the polls: what is behind it comes again.
      if (signal.aborted) return 0;
      if (frame.kind === "drain") delay = Math.max(delay, frame.reconnectAfterMs);
      else if (frame.kind === "error") delay = this.#backoff.next();
      this.#host.take(frame);
    }
    if (delay === 0) this.#backoff.reset();
    return delay;
  }

  #refused({ status, frames }: PollAnswer): number {
    this.#host.works(false);
    if (status === 401) {
      this.#token = null;
      this.#refusals += 1;
      if (this.#refusals === 1) return 1; // the next token may do
      const fatal = frames.find((frame) => frame.kind === "error");
      const error = closeError(fatal?.code ?? 3500, fatal?.message ?? "");
      if (!error.retryable) this.#fail(error);
    }
    return this.#backoff.next();
  }

  #fail(error: LanecastError): void {
    this.stop();
    this.#host.failed(error);
  }
}

/** Resolves after a while, or at once where it is aborted. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}
