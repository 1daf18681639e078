// Brings what is kept of a user's channels up to date by polls: events and positions in one transaction each. Used by the
// service worker; a page that opens later goes on from there.

import { ChannelState } from "../channel-state.ts";
import type { Environment } from "../environment.ts";
import type { EventsFrame, Lane, ServerFrame } from "../frames.ts";
import { makeEvent } from "../hub.ts";
import type { WorkerPoll } from "../offline/messages.ts";
import { OfflineStore, type Watch } from "../offline/store.ts";
import { groups, type PollAnswer, poll } from "../poll.ts";
import type { KeptEvent } from "../types.ts";

const LANE: Lane = "CRITICAL";
/** How many events a channel begins with of which nothing is kept. */
const SINCE = { last: 20 } as const;
/** Answers that are fetched in a row at most; the next wake-up goes on. */
const ROUNDS = 20;

type Outcome = WorkerPoll["outcome"];

export interface CatchUpOptions {
  readonly user: string;
  readonly indexedDB: IDBFactory;
  readonly fetch: Environment["fetch"];
  /** A token of this user; null: none can be had now. */
  readonly token: () => Promise<string | null>;
}

/** Brings one user up to date, once. */
export class CatchUp {
  readonly #options: CatchUpOptions;
  readonly #store: OfflineStore;
  readonly #states = new Map<string, ChannelState>();
  readonly #errors: Error[] = [];
  readonly #events: KeptEvent[] = [];

  constructor(options: CatchUpOptions) {
    this.#options = options;
    const { user, indexedDB } = options;
    this.#store = new OfflineStore({ user, indexedDB, onError: (error) => this.#errors.push(error) });
  }

  /** What has come, oldest first, as far as it could be kept. */
  get events(): readonly KeptEvent[] {
    return this.#errors.length > 0 ? [] : this.#events;
  }

  /** Polls what the user watches until there is no more. Rejects only where what is kept cannot be read. */
  async run(): Promise<Outcome> {
    try {
      // Read through the connection that is written through: one that was open when the user was wiped writes no more.
      const watch = await this.#store.watched();
      if (!watch || watch.channels.length === 0) return "nothing-watched";
      const token = await this.#options.token();
      if (token === null) return "no-token";
      for (const channel of watch.channels) this.#states.set(channel, await this.#restore(channel));
      const outcome = await this.#fetchAll(watch, token);
      return this.#errors.length > 0 ? "not-kept" : outcome;
    } finally {
      await this.#store.close();
    }
  }

  async #restore(channel: string): Promise<ChannelState> {
    const state = new ChannelState(channel, SINCE);
    state.addLanes([LANE]);
    const { positions } = await this.#store.restore(channel);
    state.restore(positions.filter(({ lane }) => lane === LANE));
    return state;
  }

  async #fetchAll({ pollUrl }: Watch, token: string): Promise<Outcome> {
    let due = [...this.#states.values()];
    for (let round = 0; round < ROUNDS && due.length > 0; round += 1) {
      const moved = new Set<ChannelState>();
      for (const group of groups(due.flatMap((state) => state.toPoll(LANE) ?? []))) {
        const answer = await poll(pollUrl, group, 0, token, this.#options.fetch).catch(() => null); // no network
        if (answer?.status !== 200) return outcomeOf(answer);
        for (const state of this.#take(answer)) moved.add(state);
        await this.#store.flush();
      }
      due = [...moved];
    }
    return "ok";
  }

  /** Takes an answer; returns the channels of which there may be more. */
  #take({ frames }: PollAnswer): Set<ChannelState> {
    const moved = new Set<ChannelState>();
    for (const frame of frames) {
      const state = "channel" in frame ? this.#states.get(frame.channel) : undefined;
      if (!state) continue;
      const made = frame.kind === "events" ? eventsOf(state, frame) : [];
      if (frame.kind !== "events") move(state, frame);
      if (made.length > 0) moved.add(state);
      this.#events.push(...made);
      this.#store.keep(state.channel, made, state.continuity().positions);
    }
    return moved;
  }
}

function eventsOf(state: ChannelState, frame: EventsFrame): KeptEvent[] {
  const { events } = state.polling(() => state.events(frame));
  return events.map((event) => {
    const { delivery: _delivery, latency: _latency, ...kept } = makeEvent(event, frame, null, "polled");
    return kept;
  });
}

function move(state: ChannelState, frame: ServerFrame): void {
  state.polling(() => {
    if (frame.kind === "gap") state.gap(frame);
    else if (frame.kind === "advance") state.advance(frame);
    else if (frame.kind === "subscribed") state.subscribed(frame);
  });
}

function outcomeOf(answer: PollAnswer | null): Outcome {
  if (answer === null || answer.status >= 500 || answer.status === 429) return "unreachable";
  return "refused";
}
