// The continuity of one channel: which events are new, which were seen, which are missing, and where to resume.
// Pure: takes frames, returns what to deliver and whether to subscribe again. Used by the client, one per channel.
//
// The rule, per lane: an event is contiguous with cursor c if and only if prevOffset <= c < offset. At or before c it is
// a duplicate; with prevOffset beyond c, and no gap announced, events are missing and are asked for again from c.

import type {
  AdvanceFrame,
  EventsFrame,
  GapFrame,
  GapReason,
  Lane,
  Position,
  Start,
  SubscribedFrame,
  SubscribeFrame,
  WireEvent,
} from "./frames.ts";
import { LANES } from "./frames.ts";

/** Where a subscription begins in lanes without a position. */
export type Since = "latest" | "earliest" | { readonly last: number } | readonly Position[];

/** Events that will not come: those of one lane in (`fromOffset`, `toOffset`]. */
export interface Gap {
  readonly channel: string;
  readonly lane: Lane;
  readonly epoch: string;
  readonly fromOffset: bigint;
  readonly toOffset: bigint;
  readonly reason: GapReason;
  /** How many events are missing; zero where that is unknown. */
  readonly count: number;
}

/** What became of a channel's events so far. */
export interface Continuity {
  readonly delivered: number;
  readonly duplicates: number;
  /** Gaps announced by the server, or found and not closed. */
  readonly gaps: number;
  /** Holes found by the offsets, each answered by a recovery. */
  readonly holes: number;
  /** Times the channel was resumed from positions. */
  readonly resumes: number;
  /** The cursor of each lane. */
  readonly positions: readonly Position[];
}

/** What to do about a batch. */
export interface Accepted {
  readonly events: readonly WireEvent[];
  /** A hole that a recovery did not close, now passed over. */
  readonly gap: Gap | null;
  /** True: send `request()` again, events are missing. */
  readonly recover: boolean;
}

interface Cursor {
  epoch: string;
  offset: bigint;
}

const NOTHING: Accepted = { events: [], gap: null, recover: false };

export class ChannelState {
  readonly channel: string;
  readonly #since: Since;
  readonly #lanes = new Set<Lane>();
  readonly #cursors = new Map<Lane, Cursor>();
  /** The cursor below each hole that the recovery under way is to close. */
  readonly #recovering = new Map<Lane, bigint>();
  /** Requests without an answer yet. Only after the answer to the last one do frames belong to it. */
  #outstanding = 0;
  #live = false;
  #counts = { delivered: 0, duplicates: 0, gaps: 0, holes: 0, resumes: 0 };

  constructor(channel: string, since: Since) {
    this.channel = channel;
    this.#since = since;
    if (typeof since === "object" && !("last" in since)) {
      for (const { lane, epoch, offset } of since) this.#cursors.set(lane, { epoch, offset });
    }
  }

  /** Takes over where lanes stood when they were kept; a lane that has a position already is left alone. */
  restore(positions: readonly Position[]): void {
    for (const { lane, epoch, offset } of positions) {
      if (!this.#cursors.has(lane)) this.#cursors.set(lane, { epoch, offset });
    }
  }

  /** True between `subscribed` and the next request or disconnect. */
  get live(): boolean {
    return this.#live;
  }

  /** Adds lanes to what is asked for; returns true where that is news to the server. */
  addLanes(lanes: readonly Lane[]): boolean {
    const before = this.#lanes.size;
    for (const lane of lanes) this.#lanes.add(lane);
    return this.#lanes.size > before;
  }

  /** Returns the frame that subscribes or resumes. Until it is answered, frames of the channel are leftovers. */
  request(): SubscribeFrame {
    this.#live = false;
    this.#outstanding += 1;
    const since = this.#since;
    const last = typeof since === "object" && "last" in since ? since.last : 0;
    const start: Start = last > 0 ? "LAST_N" : since === "earliest" ? "EARLIEST" : "LATEST";
    const lanes = this.#lanes.size === LANES.length ? [] : [...this.#lanes];
    return { kind: "subscribe", channel: this.channel, lanes, start, lastN: last, positions: this.#wanted() };
  }

  /** What a poll of one lane asks for; null where the lane is not wanted. */
  toPoll(lane: Lane): { channel: string; since: Since; position: Position | null } | null {
    if (!this.#lanes.has(lane)) return null;
    const position = this.#positions().find((known) => known.lane === lane) ?? null;
    return { channel: this.channel, since: this.#since, position };
  }

  /** Reads frames that came by a poll: without a subscription, and only while there is none. */
  polling<T>(read: () => T): T {
    this.#live = true;
    try {
      return read();
    } finally {
      this.#live = false;
    }
  }

  disconnected(): void {
    this.#live = false;
    this.#outstanding = 0;
    this.#recovering.clear();
  }

  /** Notes that the last request was refused. */
  refused(): void {
    this.#outstanding = Math.max(0, this.#outstanding - 1);
  }

  subscribed(frame: SubscribedFrame): void {
    this.#outstanding = Math.max(0, this.#outstanding - 1);
    this.#live = this.#outstanding === 0;
    if (!this.#live) return;
    if (frame.wasRecovering) this.#counts.resumes += 1;
    for (const { lane, epoch, offset } of frame.positions) {
      const cursor = this.#cursors.get(lane);
      if (cursor === undefined) this.#cursors.set(lane, { epoch, offset });
      // The server vouches that nothing deliverable lies between; where it does not, its gap follows and says so.
      else if (frame.recovered && offset >= cursor.offset) this.#set(cursor, epoch, offset);
    }
  }

  events(frame: EventsFrame): Accepted {
    if (!this.#live) return NOTHING;
    const cursor = this.#cursors.get(frame.lane) ?? this.#open(frame);
    const events: WireEvent[] = [];
    let gap: Gap | null = null;
    for (const event of frame.events) {
      if (event.offset <= cursor.offset && frame.epoch === cursor.epoch) {
        this.#counts.duplicates += 1;
        continue;
      }
      if (event.prevOffset > cursor.offset || event.offset <= cursor.offset) {
        if (!this.#unexplained(frame.lane, cursor.offset)) {
          this.#counts.delivered += events.length;
          return { events, gap, recover: true };
        }
        gap = this.#passOver(frame, cursor, event);
      }
      this.#set(cursor, frame.epoch, event.offset);
      this.#recovering.delete(frame.lane);
      events.push(event);
    }
    this.#counts.delivered += events.length;
    return { events, gap, recover: false };
  }

  /** Moves past what the server says will not come. Returns null where that was known. */
  gap(frame: GapFrame): Gap | null {
    if (!this.#live) return null;
    const cursor = this.#cursors.get(frame.lane);
    const undone = frame.reason === "AHEAD" || frame.reason === "EPOCH_UNKNOWN";
    if (cursor && !undone && frame.toOffset <= cursor.offset) return null;
    if (cursor) this.#set(cursor, frame.epoch, frame.toOffset);
    else this.#cursors.set(frame.lane, { epoch: frame.epoch, offset: frame.toOffset });
    this.#counts.gaps += 1;
    const { channel, lane, epoch, fromOffset, toOffset, reason, count } = frame;
    return { channel, lane, epoch, fromOffset, toOffset, reason, count };
  }

  advance(frame: AdvanceFrame): void {
    const cursor = this.#cursors.get(frame.lane);
    if (this.#live && cursor && frame.throughOffset > cursor.offset) {
      this.#set(cursor, frame.epoch, frame.throughOffset);
    }
  }

  continuity(): Continuity {
    return { ...this.#counts, positions: this.#positions() };
  }

  /** The positions of the lanes that are asked for: others may be known from earlier. */
  #wanted(): Position[] {
    return this.#positions().filter(({ lane }) => this.#lanes.has(lane));
  }

  #positions(): Position[] {
    return [...this.#cursors].map(([lane, { epoch, offset }]) => ({ lane, epoch, offset }));
  }

  #open(frame: EventsFrame): Cursor {
    const cursor = { epoch: frame.epoch, offset: frame.events[0]?.prevOffset ?? 0n };
    this.#cursors.set(frame.lane, cursor);
    return cursor;
  }

  #set(cursor: Cursor, epoch: string, offset: bigint): void {
    cursor.epoch = epoch;
    cursor.offset = offset;
  }

  /** Says whether this hole is the one a recovery has just failed to close; if not, notes it for the recovery to come. */
  #unexplained(lane: Lane, offset: bigint): boolean {
    if (this.#recovering.get(lane) === offset) return true;
    this.#recovering.set(lane, offset);
    this.#counts.holes += 1;
    return false;
  }

  #passOver(frame: EventsFrame, cursor: Cursor, event: WireEvent): Gap {
    this.#counts.gaps += 1;
    return {
      channel: this.channel,
      lane: frame.lane,
      epoch: frame.epoch,
      fromOffset: cursor.offset,
      toOffset: event.prevOffset,
      reason: "UNEXPLAINED",
      count: 0,
    };
  }
}
