// What a device keeps of the channels: the newest events of each lane and where the lanes stand, per user. Implements the
// client's `OfflineCache`; decides what is evicted. Events and positions are written in one transaction, so that a page
// which starts again neither shows an event twice nor misses one.

import { LANES, type Lane, type Position } from "../frames.ts";
import type { Kept, KeptEvent, OfflineCache } from "../types.ts";
import {
  answer,
  BY_CHANNEL,
  BY_RANK,
  CURSORS,
  committed,
  deleteDatabase,
  EVENTS,
  knownUsers,
  openDatabase,
  SETTINGS,
} from "./database.ts";

export interface OfflineOptions {
  /** Whose events these are: nothing kept for one user is ever shown to another. */
  readonly user: string;
  /** Most events of each lane that are kept, over all channels. Default: 500, 300, 200 and 100. */
  readonly limits?: Partial<Record<Lane, number>>;
  /** Told why something could not be kept or read. The page works on without it. Default: nothing is told. */
  readonly onError?: (error: Error) => void;
  /** Default: the browser's. */
  readonly indexedDB?: IDBFactory;
}

/** How long events wait to be written together, in milliseconds: what a crash may cost. */
const FLUSH_MS = 50;
const DEFAULT_LIMITS: Readonly<Record<Lane, number>> = { CRITICAL: 500, HIGH: 300, NORMAL: 200, LOW: 100 };
/** Share of a lane that is given up when the browser has no more room. */
const EVICTED_SHARE = 0.5;

interface Row {
  readonly key: string;
  readonly channel: string;
  /** The place of its lane in `LANES`. */
  readonly rank: number;
  /** When it was kept, milliseconds since the Unix epoch. */
  readonly at: number;
  readonly event: KeptEvent;
}

/** What the service worker is to poll for this user. */
export interface Watch {
  /** The gateway's address for polls. */
  readonly pollUrl: string;
  readonly channels: readonly string[];
}

const WATCH = "watch";

interface CursorRow extends Position {
  readonly channel: string;
}

export class OfflineStore implements OfflineCache {
  readonly #options: OfflineOptions;
  readonly #factory: IDBFactory | undefined;
  readonly #limits: Readonly<Record<Lane, number>>;
  #database: Promise<IDBDatabase> | null = null;
  #rows: Record<Lane, Row[]> = noRows();
  #cursors = new Map<string, CursorRow>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The write under way; the next one begins after it. */
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: OfflineOptions) {
    this.#options = options;
    this.#factory = options.indexedDB ?? globalThis.indexedDB;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    globalThis.addEventListener?.("pagehide", this.#onHide);
  }

  async restore(channel: string): Promise<Kept> {
    try {
      await this.flush();
      return await this.#read(channel);
    } catch (error) {
      this.#report(error);
      return { events: [], positions: [] };
    }
  }

  keep(channel: string, events: readonly KeptEvent[], positions: readonly Position[]): void {
    if (this.#closed) return;
    for (const event of events) {
      const rows = this.#rows[event.lane];
      rows.push(toRow(event));
      // What would be evicted in the same breath need not be written.
      if (rows.length > this.#limits[event.lane]) rows.shift();
    }
    for (const position of positions) this.#cursors.set(`${channel}\n${position.lane}`, { ...position, channel });
    this.#timer ??= setTimeout(() => void this.flush(), FLUSH_MS);
  }

  /** Says what the service worker is to poll for this user, until it is said anew or the user is wiped. */
  async watch(watch: Watch): Promise<void> {
    const transaction = (await this.#open()).transaction(SETTINGS, "readwrite");
    const done = committed(transaction);
    transaction.objectStore(SETTINGS).put({ name: WATCH, ...watch });
    await done;
  }

  /** What `watch` has said; null where it has not, or the user was wiped. */
  async watched(): Promise<Watch | null> {
    const rows = (await this.#open()).transaction(SETTINGS, "readonly").objectStore(SETTINGS);
    return (await answer<Watch | undefined>(rows.get(WATCH))) ?? null;
  }

  /** Writes what waits. Resolves also where that failed: `onError` was told. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#flush());
    return this.#writing;
  }

  /** Deletes everything that is kept for this user, as on logout. The store is closed afterwards. */
  async wipe(): Promise<void> {
    this.#forget();
    await this.close();
    if (this.#factory) await deleteDatabase(this.#factory, this.#options.user);
  }

  /** Deletes what is kept for other users of this device. */
  async wipeOthers(): Promise<void> {
    const factory = this.#factory;
    if (!factory) return;
    const others = (await knownUsers(factory)).filter((user) => user !== this.#options.user);
    await Promise.all(others.map((user) => deleteDatabase(factory, user)));
  }

  /** Writes what waits and closes. Idempotent. */
  async close(): Promise<void> {
    globalThis.removeEventListener?.("pagehide", this.#onHide);
    await this.flush();
    this.#closed = true;
    const database = await this.#database?.catch(() => null);
    database?.close();
    this.#database = null;
  }

  readonly #onHide = (): void => {
    void this.flush();
  };

  #open(): Promise<IDBDatabase> {
    if (this.#closed) return Promise.reject(new Error("the offline store is closed"));
    if (!this.#factory) return Promise.reject(new Error("this browser keeps nothing: it has no IndexedDB"));
    this.#database ??= openDatabase(this.#factory, this.#options.user).then((database) => {
      database.onclose = () => this.#reopen();
      return database;
    });
    this.#database.catch(() => this.#reopen());
    return this.#database;
  }

  #reopen(): void {
    this.#database = null;
  }

  async #flush(): Promise<void> {
    const rows = LANES.flatMap((lane) => this.#rows[lane]);
    const cursors = [...this.#cursors.values()];
    this.#forget();
    if (rows.length === 0 && cursors.length === 0) return;
    try {
      const database = await this.#open();
      await this.#writeWithRoom(database, rows, cursors);
    } catch (error) {
      this.#report(error);
    }
  }

  #forget(): void {
    this.#rows = noRows();
    this.#cursors.clear();
  }

  /** Writes, and where the browser has no room gives up half of a lane at a time, the least urgent first. */
  async #writeWithRoom(database: IDBDatabase, rows: readonly Row[], cursors: readonly CursorRow[]): Promise<void> {
    for (let rank = LANES.length - 1; ; rank -= 1) {
      try {
        await this.#write(database, rows, cursors);
        return;
      } catch (error) {
        if (!isFull(error) || rank < 0) throw error;
        await halve(database, rank);
      }
    }
  }

  async #write(database: IDBDatabase, rows: readonly Row[], cursors: readonly CursorRow[]): Promise<void> {
    const transaction = database.transaction([EVENTS, CURSORS], "readwrite", { durability: "relaxed" });
    const done = committed(transaction);
    try {
      const events = transaction.objectStore(EVENTS);
      for (const row of rows) events.put(row);
      for (const cursor of cursors) advance(transaction.objectStore(CURSORS), cursor);
      for (const [rank, lane] of LANES.entries()) evict(events, rank, this.#limits[lane]);
    } catch (error) {
      // What was put before it would be committed all the same, without its cursor.
      done.catch(() => {});
      transaction.abort();
      throw error;
    }
    await done;
  }

  async #read(channel: string): Promise<Kept> {
    const transaction = (await this.#open()).transaction([EVENTS, CURSORS], "readonly");
    const [rows, cursors] = await Promise.all([
      answer<Row[]>(transaction.objectStore(EVENTS).index(BY_CHANNEL).getAll(channel)),
      answer<CursorRow[]>(transaction.objectStore(CURSORS).getAll(IDBKeyRange.bound([channel], [channel, []]))),
    ]);
    const events = rows.sort((a, b) => a.at - b.at || compare(a.key, b.key)).map(({ event }) => event);
    return { events, positions: cursors.map(({ lane, epoch, offset }) => ({ lane, epoch, offset })) };
  }

  #report(error: unknown): void {
    this.#options.onError?.(error instanceof Error ? error : new Error(String(error)));
  }
}

function noRows(): Record<Lane, Row[]> {
  return { CRITICAL: [], HIGH: [], NORMAL: [], LOW: [] };
}

function toRow(event: KeptEvent): Row {
  const { channel, lane, epoch, offset } = event;
  // The same event, kept by two tabs, is one row. Padding makes the order of the text that of the numbers.
  const key = [channel, lane, epoch, String(offset).padStart(20, "0")].join("\n");
  return { key, channel, rank: LANES.indexOf(lane), at: Date.now(), event };
}

/** Moves a cursor on; a tab that is behind must not move it back. */
function advance(cursors: IDBObjectStore, cursor: CursorRow): void {
  const request: IDBRequest<CursorRow | undefined> = cursors.get([cursor.channel, cursor.lane]);
  request.onsuccess = () => {
    const known = request.result;
    if (known?.epoch !== cursor.epoch || known.offset < cursor.offset) cursors.put(cursor);
  };
}

/** Deletes the oldest events of a lane beyond its limit. */
function evict(events: IDBObjectStore, rank: number, limit: number): void {
  const range = ofRank(rank);
  const count = events.index(BY_RANK).count(range);
  count.onsuccess = () => deleteOldest(events, range, count.result - limit);
}

async function halve(database: IDBDatabase, rank: number): Promise<void> {
  const transaction = database.transaction(EVENTS, "readwrite");
  const done = committed(transaction);
  const events = transaction.objectStore(EVENTS);
  const count = events.index(BY_RANK).count(ofRank(rank));
  count.onsuccess = () => deleteOldest(events, ofRank(rank), Math.ceil(count.result * EVICTED_SHARE));
  await done;
}

function deleteOldest(events: IDBObjectStore, range: IDBKeyRange, surplus: number): void {
  if (surplus <= 0) return;
  let left = surplus;
  const walk = events.index(BY_RANK).openCursor(range);
  walk.onsuccess = () => {
    const cursor = walk.result;
    if (!cursor || left === 0) return;
    left -= 1;
    cursor.delete();
    cursor.continue();
  };
}

function ofRank(rank: number): IDBKeyRange {
  return IDBKeyRange.bound([rank], [rank, []]);
}

function isFull(error: unknown): boolean {
  return error instanceof DOMException && error.name === "QuotaExceededError";
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
