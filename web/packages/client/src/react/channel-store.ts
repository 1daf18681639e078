// One channel as React sees it: an immutable snapshot that changes at most once a frame, and a subscription that lives as
// long as somebody looks at it. Knows nothing of React itself; used by the hooks.

import type { Continuity, Gap } from "../channel-state.ts";
import type { LanecastError } from "../errors.ts";
import type { Client, EventTypes, LanecastEvent, SubscribeOptions, Subscription } from "../types.ts";

/** How long a channel that nobody looks at stays subscribed, in milliseconds: pages are changed, and effects run twice. */
const LINGER_MS = 1_000;
/** How long a change may wait where no frame is drawn, as in a hidden tab. */
const HIDDEN_FRAME_MS = 250;

/** How far a channel has come. */
export interface ChannelStatus {
  /** True once the server has accepted the subscription. */
  readonly ready: boolean;
  /** Why the subscription has ended. */
  readonly error: LanecastError | null;
  /** The newest loss the server has named. */
  readonly gap: Gap | null;
}

export interface Snapshot<S> extends ChannelStatus {
  readonly state: S;
}

/** Folds an event into a state; must return another object where something has changed. */
export type Reducer<S, M extends EventTypes> = (state: S, event: LanecastEvent<M>) => S;

export type ChannelOptions = Pick<SubscribeOptions, "since" | "lanes">;

export class ChannelStore<S, M extends EventTypes> {
  readonly #client: Client<M>;
  readonly #name: string;
  readonly #options: ChannelOptions;
  readonly #listeners = new Set<() => void>();
  #reduce: Reducer<S, M>;
  #snapshot: Snapshot<S>;
  /** What the next frame will show. */
  #next: Snapshot<S>;
  #subscription: Subscription | null = null;
  #linger: ReturnType<typeof setTimeout> | undefined;
  #cancelFrame: (() => void) | null = null;

  constructor(client: Client<M>, name: string, options: ChannelOptions, reduce: Reducer<S, M>, initial: S) {
    this.#client = client;
    this.#name = name;
    this.#options = options;
    this.#reduce = reduce;
    this.#snapshot = this.#next = { state: initial, ready: false, error: null, gap: null };
  }

  /** Uses another reducer from the next event on. */
  setReducer(reduce: Reducer<S, M>): void {
    this.#reduce = reduce;
  }

  readonly getSnapshot = (): Snapshot<S> => this.#snapshot;

  /** What became of the channel's events so far; null while it is not subscribed. */
  readonly continuity = (): Continuity | null => this.#subscription?.continuity() ?? null;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    clearTimeout(this.#linger);
    this.#subscription ??= this.#open();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#linger = setTimeout(() => this.#close(), LINGER_MS);
    };
  };

  #open(): Subscription {
    const subscription = this.#client.channel(this.#name).subscribe(
      (event) => {
        const state = this.#reduce(this.#next.state, event);
        if (state !== this.#next.state) this.#change({ state });
      },
      {
        ...this.#options,
        onGap: (gap) => this.#change({ gap }),
        onError: (error) => this.#change({ error, ready: false }),
      },
    );
    subscription.ready().then(
      () => this.#change({ ready: true, error: null }),
      () => {}, // `onError` was told
    );
    return subscription;
  }

  #close(): void {
    this.#cancelFrame?.();
    this.#cancelFrame = null;
    this.#subscription?.unsubscribe();
    this.#subscription = null;
    // Whoever comes back finds what was shown, and subscribes anew.
    this.#snapshot = this.#next = { ...this.#next, ready: false };
  }

  #change(change: Partial<Snapshot<S>>): void {
    this.#next = { ...this.#next, ...change };
    this.#cancelFrame ??= nextFrame(() => {
      this.#cancelFrame = null;
      this.#snapshot = this.#next;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}

/** Calls at the next frame, or soon where none is drawn; returns the function that cancels it. */
export function nextFrame(call: () => void): () => void {
  let frame = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const cancel = () => {
    clearTimeout(timer);
    globalThis.cancelAnimationFrame?.(frame);
  };
  const once = () => {
    cancel();
    call();
  };
  timer = setTimeout(once, HIDDEN_FRAME_MS);
  frame = globalThis.requestAnimationFrame?.(once) ?? 0;
  return cancel;
}
