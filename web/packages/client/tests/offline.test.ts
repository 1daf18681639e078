// What a device keeps, against a real IndexedDB in memory.

import { IDBFactory, IDBKeyRange } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Lane } from "../src/index.ts";
import { type OfflineOptions, OfflineStore, Outbox } from "../src/offline/index.ts";
import type { KeptEvent } from "../src/types.ts";

vi.stubGlobal("IDBKeyRange", IDBKeyRange);

let indexedDB: IDBFactory;
const stores: OfflineStore[] = [];

function open(options: Partial<OfflineOptions> = {}): OfflineStore {
  const fail = (error: Error) => {
    throw error;
  };
  const store = new OfflineStore({ user: "agent-7", indexedDB, onError: fail, ...options });
  stores.push(store);
  return store;
}

function event(offset: number, lane: Lane = "CRITICAL", channel = "agent:42"): KeptEvent {
  return {
    channel,
    lane,
    epoch: "e1",
    offset: BigInt(offset),
    id: `id-${offset}`,
    source: "test",
    type: "lanecast.ai.v1.ConciergeInsight",
    data: { text: `event ${offset}` },
    createTime: new Date(offset),
    policy: "default",
    arm: null,
    traceContext: new Uint8Array(),
  };
}

function keep(store: OfflineStore, events: readonly KeptEvent[]): void {
  for (const one of events) {
    store.keep(one.channel, [one], [{ lane: one.lane, epoch: one.epoch, offset: one.offset }]);
  }
}

async function offsets(store: OfflineStore, channel = "agent:42"): Promise<number[]> {
  return (await store.restore(channel)).events.map(({ offset }) => Number(offset));
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

beforeEach(() => {
  indexedDB = new IDBFactory();
});

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

describe("the store", () => {
  test("what an earlier version has kept is there, and can be watched", async () => {
    await new Promise<void>((resolve) => {
      const request = indexedDB.open("lanecast:agent-7", 1);
      request.onupgradeneeded = () => {
        const events = request.result.createObjectStore("events", { keyPath: "key" });
        events.createIndex("by-rank", ["rank", "at"]);
        events.createIndex("by-channel", "channel");
        const cursors = request.result.createObjectStore("cursors", { keyPath: ["channel", "lane"] });
        cursors.put({ channel: "agent:42", lane: "CRITICAL", epoch: "e1", offset: 7n });
        request.result.createObjectStore("outbox", { keyPath: "number", autoIncrement: true });
      };
      request.onsuccess = () => {
        request.result.close();
        resolve();
      };
    });
    const store = open();
    expect((await store.restore("agent:42")).positions).toEqual([{ lane: "CRITICAL", epoch: "e1", offset: 7n }]);
    expect(await store.watched()).toBeNull();
    const watch = { pollUrl: "https://gateway.test/v1/poll", channels: ["agent:42"] };
    await store.watch(watch);
    expect(await store.watched()).toMatchObject(watch);
  });

  test("gives a later page what an earlier one was handed, and where its lanes stand", async () => {
    const first = open();
    keep(first, [event(1), event(2), event(3, "LOW")]);
    await first.close();
    const kept = await open().restore("agent:42");
    expect(kept.events).toEqual([event(1), event(2), event(3, "LOW")]);
    expect(kept.positions).toEqual([
      { lane: "CRITICAL", epoch: "e1", offset: 2n },
      { lane: "LOW", epoch: "e1", offset: 3n },
    ]);
  });

  test("knows nothing of other channels and other users", async () => {
    keep(open(), [event(1), event(2, "CRITICAL", "agent:43")]);
    await stores[0]?.flush();
    expect(await offsets(open(), "agent:43")).toEqual([2]);
    expect(await offsets(open({ user: "agent-8" }))).toEqual([]);
  });

  test("keeps the newest of each lane, so that LOW never crowds out CRITICAL", async () => {
    const store = open({ limits: { CRITICAL: 3, LOW: 2 } });
    keep(store, [...range(1, 5).map((n) => event(n)), ...range(6, 30).map((n) => event(n, "LOW"))]);
    await store.flush();
    keep(store, [event(31, "LOW")]);
    expect(await offsets(store)).toEqual([3, 4, 5, 30, 31]);
    expect((await store.restore("agent:42")).positions.map(({ offset }) => offset)).toEqual([5n, 31n]);
  });

  test("two tabs that keep the same events keep them once, and the one behind does not move the cursor back", async () => {
    const [ahead, behind] = [open(), open()];
    keep(ahead, [event(1), event(2), event(3)]);
    await ahead.flush();
    keep(behind, [event(1), event(2)]);
    await behind.flush();
    const kept = await open().restore("agent:42");
    expect(kept.events).toHaveLength(3);
    expect(kept.positions).toEqual([{ lane: "CRITICAL", epoch: "e1", offset: 3n }]);
  });

  test("a new epoch moves the cursor wherever it is", async () => {
    const store = open();
    keep(store, [event(9), { ...event(4), epoch: "e2" }]);
    expect((await store.restore("agent:42")).positions).toEqual([{ lane: "CRITICAL", epoch: "e2", offset: 4n }]);
  });

  test("events and cursor are stored together or not at all", async () => {
    const errors: Error[] = [];
    const store = open({ onError: (error) => errors.push(error) });
    keep(store, [event(1)]);
    await store.flush();
    keep(store, [event(2), { ...event(3), data: () => "no such thing can be stored" }]);
    await store.flush();
    expect(errors).toHaveLength(1);
    const kept = await store.restore("agent:42");
    expect(kept.events).toHaveLength(1);
    expect(kept.positions).toEqual([{ lane: "CRITICAL", epoch: "e1", offset: 1n }]);
  });

  test("where the browser has no more room, LOW goes first", async () => {
    const store = open();
    keep(store, [event(1), ...range(2, 5).map((n) => event(n, "LOW"))]);
    await store.flush();
    const put = vi.spyOn((await raw()).constructor.prototype, "transaction");
    const full = new DOMException("full", "QuotaExceededError");
    put.mockImplementationOnce(() => {
      throw full;
    });
    keep(store, [event(6)]);
    await store.flush();
    put.mockRestore();
    expect(await offsets(store)).toEqual([1, 4, 5, 6]);
  });

  test("logout leaves nothing, and neither does another user's login", async () => {
    keep(open(), [event(1)]);
    keep(open({ user: "agent-8" }), [event(1)]);
    for (const store of stores) await store.close();
    await open().wipe();
    await open({ user: "agent-9" }).wipeOthers();
    expect(await offsets(open())).toEqual([]);
    expect(await offsets(open({ user: "agent-8" }))).toEqual([]);
  });

  test("without a database the page works on, and is told once for each failure", async () => {
    const errors: Error[] = [];
    const broken = { open: () => ({ error: null }) } as unknown as IDBFactory;
    vi.useFakeTimers();
    const store = open({ indexedDB: broken, onError: (error) => errors.push(error) });
    const restored = store.restore("agent:42");
    await vi.advanceTimersByTimeAsync(3_000);
    expect(await restored).toEqual({ events: [], positions: [] });
    expect(errors.map(({ message }) => message)).toEqual(["the database did not open in time"]);
    vi.useRealTimers();
  });
});

describe("the outbox", () => {
  function outbox(statuses: (number | Error)[]) {
    const calls: { url: string; id: string; body: string }[] = [];
    const send = async (url: RequestInfo | URL, init?: RequestInit) => {
      const headers = init?.headers as Record<string, string>;
      calls.push({ url: String(url), id: headers["Idempotency-Key"] ?? "", body: String(init?.body) });
      const status = statuses.shift() ?? 200;
      if (status instanceof Error) throw status;
      return new Response(null, { status });
    };
    return { box: new Outbox({ user: "agent-7", indexedDB, fetch: send, capacity: 4 }), calls };
  }

  test("sends in order, stops where the network fails, and goes on from there under the same id", async () => {
    const { box, calls } = outbox([200, new TypeError("no network")]);
    const ids = [await box.add({ url: "/a", body: "1" }), await box.add({ url: "/b" }), await box.add({ url: "/c" })];
    expect(await box.flush()).toEqual({ sent: 1, refused: [], left: 2 });
    expect(await box.flush()).toEqual({ sent: 2, refused: [], left: 0 });
    expect(calls.map(({ url }) => url)).toEqual(["/a", "/b", "/b", "/c"]);
    expect(calls.map(({ id }) => id)).toEqual([ids[0], ids[1], ids[1], ids[2]]);
    expect(await box.size()).toBe(0);
  });

  test("keeps what the server cannot take now, and names what it will never take", async () => {
    const { box } = outbox([422, 503]);
    const id = await box.add({ url: "/a" });
    await box.add({ url: "/b" });
    expect(await box.flush()).toEqual({ sent: 0, refused: [{ id, status: 422 }], left: 1 });
  });

  test("says so when it is full", async () => {
    const { box } = outbox([]);
    for (const url of ["/1", "/2", "/3", "/4"]) await box.add({ url });
    await expect(box.add({ url: "/5" })).rejects.toThrow("go online before adding more");
    expect(await box.size()).toBe(4);
  });
});

/** The database itself, to make it fail. */
function raw(): Promise<IDBDatabase> {
  return new Promise((resolve) => {
    const request = indexedDB.open("another");
    request.onsuccess = () => resolve(request.result);
  });
}
