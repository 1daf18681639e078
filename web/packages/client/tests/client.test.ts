// The client against a gateway in memory: every promise of its API, under a clock that only the test moves.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  type AiEvents,
  type Client,
  type ClientOptions,
  createClient,
  type Hop,
  type LanecastEvent,
} from "../src/index.ts";
import { batch, FakeGateway, type FakeSocket, subscribed } from "./fake-gateway.ts";

let gateway: FakeGateway;
let client: Client<AiEvents>;

function makeClient(options: Partial<ClientOptions> = {}): Client<AiEvents> {
  client = createClient<AiEvents>({
    url: "ws://gateway.test/v1/ws",
    getToken: () => "token-1",
    codec: "json",
    environment: gateway.environment,
    ...options,
  });
  return client;
}

/** Subscribes to `agent:42` and brings the channel live at offset `at` of the CRITICAL lane. */
async function live(at = 10): Promise<{ socket: FakeSocket; offsets: bigint[] }> {
  const offsets: bigint[] = [];
  makeClient()
    .channel("agent:42")
    .subscribe((event) => offsets.push(event.offset));
  const socket = await gateway.welcome();
  socket.push(subscribed("agent:42", [["CRITICAL", "e1", at]]));
  return { socket, offsets };
}

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
  gateway = new FakeGateway();
});

afterEach(() => {
  client.close();
  expect(vi.getTimerCount(), "a closed client leaves no timer").toBe(0);
  vi.useRealTimers();
});

describe("connecting", () => {
  test("opens nothing before it is told to", async () => {
    makeClient();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(client.state.status).toBe("idle");
    expect(gateway.sockets).toHaveLength(0);
  });

  test("says hello first, then subscribes with what was asked for", async () => {
    makeClient()
      .channel("agent:42")
      .subscribe(() => {}, { since: { last: 20 }, lanes: ["CRITICAL", "HIGH"] });
    const socket = await gateway.welcome();
    expect(socket.protocol).toBe("lanecast.v1.json");
    expect(socket.sent[0]).toEqual({
      hello: { token: "token-1", client: expect.stringMatching(/^@lanecast\/client /) },
    });
    expect(socket.sent[1]).toEqual({
      subscribe: {
        channel: "agent:42",
        lanes: ["PRIORITY_CRITICAL", "PRIORITY_HIGH"],
        start: "START_LAST_N",
        lastN: 20,
        positions: [],
      },
    });
    expect(client.state).toEqual({ status: "connected", error: null, retryAt: null, session: "session-1" });
  });

  test("connect resolves on welcome", async () => {
    const connected = makeClient().connect();
    await gateway.welcome();
    await expect(connected).resolves.toBeUndefined();
  });

  test("a close code that forbids a retry fails the client and everyone who waits", async () => {
    const connected = makeClient().connect();
    const ready = client
      .channel("agent:42")
      .subscribe(() => {})
      .ready();
    const rejections = Promise.allSettled([connected, ready]);
    (await gateway.opened(1)).drop(3500);
    for (const result of await rejections) {
      expect(result).toMatchObject({ status: "rejected", reason: { code: "UNAUTHENTICATED", retryable: false } });
    }
    expect(client.state.status).toBe("failed");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(gateway.sockets).toHaveLength(1);
  });

  test("a failed client connects again when it is told to", async () => {
    makeClient()
      .connect()
      .catch(() => {});
    (await gateway.opened(1)).drop(3503);
    const again = client.connect();
    await gateway.welcome(2);
    await expect(again).resolves.toBeUndefined();
  });

  test("a token that cannot be had is retried and named", async () => {
    makeClient({ getToken: () => Promise.reject(new Error("offline")) })
      .connect()
      .catch(() => {});
    await vi.advanceTimersByTimeAsync(0);
    expect(client.state).toMatchObject({ status: "reconnecting", error: { code: "TOKEN_UNAVAILABLE" } });
  });

  test("an address that can never work fails at once", async () => {
    const openSocket = () => {
      throw new DOMException("no such scheme", "SyntaxError");
    };
    makeClient({ environment: { ...gateway.environment, openSocket } });
    await expect(client.connect()).rejects.toMatchObject({ code: "BAD_URL", retryable: false });
  });

  test("gives up an attempt without welcome after ten seconds", async () => {
    makeClient()
      .connect()
      .catch(() => {});
    (await gateway.opened(1)).open();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(client.state).toMatchObject({ status: "reconnecting", error: { code: "CONNECT_TIMEOUT" } });
    expect(gateway.sockets[0]?.closedWith).toBe(1000);
  });

  test("closing ends subscriptions and waiting calls, twice without harm", async () => {
    const errors: string[] = [];
    const connected = makeClient().connect();
    client.channel("agent:42").subscribe(() => {}, { onError: (error) => errors.push(error.code) });
    client.close();
    client.close();
    await expect(connected).rejects.toMatchObject({ code: "CLOSED" });
    expect(errors).toEqual(["CLOSED"]);
    expect(() => client.channel("agent:42").subscribe(() => {})).toThrow("closed");
  });
});

describe("continuity", () => {
  test("delivers in order and drops what was seen", async () => {
    const { socket, offsets } = await live(10);
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 12]]));
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 12], [12, 15]])); // biome-ignore format: pairs
    expect(offsets).toEqual([12n, 15n]);
    expect(client.statistics()).toMatchObject({ received: 2, duplicates: 1, gaps: 0 });
  });

  test("a hole asks again from the cursor and delivers nothing behind it", async () => {
    const { socket, offsets } = await live(10);
    socket.push(batch("agent:42", "CRITICAL", "e1", [[20, 21]]));
    expect(offsets).toEqual([]);
    expect(socket.commands("subscribe").at(-1)).toMatchObject({
      positions: [{ lane: "PRIORITY_CRITICAL", epoch: "e1", offset: "10" }],
    });
    socket.push(batch("agent:42", "CRITICAL", "e1", [[21, 22]]));
    expect(offsets, "leftovers of the old subscription").toEqual([]);
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 10]], { wasRecovering: true, recovered: true }));
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 20], [20, 21]], { replayed: true })); // biome-ignore format: pairs
    expect(offsets).toEqual([20n, 21n]);
  });

  test("a hole that recovery does not close is told, not hidden, and not asked for forever", async () => {
    const lost: unknown[] = [];
    const offsets: bigint[] = [];
    makeClient()
      .channel("agent:42")
      .subscribe((event) => offsets.push(event.offset), { onUnrecoverable: (gap) => lost.push(gap) });
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 10]]));
    socket.push(batch("agent:42", "CRITICAL", "e1", [[20, 21]]));
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 10]], { wasRecovering: true, recovered: true }));
    socket.push(batch("agent:42", "CRITICAL", "e1", [[20, 21]]));
    expect(offsets).toEqual([21n]);
    expect(lost).toEqual([expect.objectContaining({ reason: "UNEXPLAINED", fromOffset: 10n, toOffset: 20n })]);
    expect(socket.commands("subscribe")).toHaveLength(2);
  });

  test("an announced gap lifts the check and is told", async () => {
    const gaps: unknown[] = [];
    const offsets: bigint[] = [];
    makeClient()
      .channel("agent:42")
      .subscribe((event) => offsets.push(event.offset), { onGap: (gap) => gaps.push(gap.reason) });
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["LOW", "e1", 10]]));
    const range = { fromOffset: "10", toOffset: "30", reason: "GAP_REASON_SHED", count: "4" };
    socket.push({ gap: { channel: "agent:42", lane: "PRIORITY_LOW", epoch: "e1", ...range } });
    socket.push(batch("agent:42", "LOW", "e1", [[30, 31]]));
    expect(gaps).toEqual(["SHED"]);
    expect(offsets).toEqual([31n]);
  });

  test.each(["CONFLATED", "EXPIRED"])("gaps between survivors name what was %s, in their places", async (reason) => {
    const told: string[] = [];
    makeClient()
      .channel("agent:42")
      .subscribe((event) => told.push(`${event.offset}`), {
        onGap: ({ fromOffset, toOffset, count, ...gap }) =>
          told.push(`${gap.reason} ${fromOffset}-${toOffset} ${count}`),
      });
    const socket = await gateway.welcome();
    const gap = (fromOffset: string, toOffset: string, count: string) =>
      socket.push({
        gap: {
          ...{ channel: "agent:42", lane: "PRIORITY_LOW", epoch: "e1" },
          ...{ fromOffset, toOffset, count, reason: `GAP_REASON_${reason}` },
        },
      });
    socket.push(subscribed("agent:42", [["LOW", "e1", 10]]));
    gap("10", "12", "2");
    socket.push(batch("agent:42", "LOW", "e1", [[12, 13]]));
    gap("13", "15", "1");
    socket.push(
      batch("agent:42", "LOW", "e1", [
        [15, 17],
        [17, 18],
      ]),
    );
    expect(told).toEqual([`${reason} 10-12 2`, "13", `${reason} 13-15 1`, "17", "18"]);
    expect(socket.commands("subscribe")).toHaveLength(1);
  });

  test("after a crash of the server's machine it goes back to where the server is", async () => {
    const { socket, offsets } = await live(50);
    const range = { fromOffset: "50", toOffset: "40", reason: "GAP_REASON_AHEAD" };
    socket.push({ gap: { channel: "agent:42", lane: "PRIORITY_CRITICAL", epoch: "e2", ...range } });
    socket.push(batch("agent:42", "CRITICAL", "e2", [[40, 41]]));
    expect(offsets).toEqual([41n]);
  });

  test("advance moves a quiet lane's cursor", async () => {
    const { socket, offsets } = await live(10);
    socket.push({
      advance: { channel: "agent:42", lane: "PRIORITY_CRITICAL", epoch: "e1", throughOffset: "100" },
    });
    socket.push(batch("agent:42", "CRITICAL", "e1", [[90, 101]]));
    expect(offsets).toEqual([101n]);
  });

  test("reconnecting resumes from the cursor; what comes twice is delivered once", async () => {
    const { socket, offsets } = await live(10);
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]]));
    socket.drop(1006);
    await vi.advanceTimersByTimeAsync(3_000);
    const second = await gateway.welcome(2);
    expect(second.commands("subscribe")[0]).toMatchObject({
      positions: [{ lane: "PRIORITY_CRITICAL", epoch: "e1", offset: "11" }],
    });
    second.push(subscribed("agent:42", [["CRITICAL", "e1", 11]], { wasRecovering: true, recovered: true }));
    second.push(batch("agent:42", "CRITICAL", "e1", [[10, 11], [11, 12]], { replayed: true })); // biome-ignore format: pairs
    expect(offsets).toEqual([11n, 12n]);
  });

  test("what an old connection still says is ignored", async () => {
    const { socket, offsets } = await live(10);
    socket.drop(1006);
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]]));
    expect(offsets).toEqual([]);
  });
});

describe("subscriptions", () => {
  test("two listeners share one subscription, each with its lanes", async () => {
    const all: string[] = [];
    const low: string[] = [];
    const channel = makeClient().channel("agent:42");
    channel.subscribe((event) => all.push(event.id));
    channel.subscribe((event) => low.push(event.id), { lanes: ["LOW"] });
    const socket = await gateway.welcome();
    expect(socket.commands("subscribe")).toHaveLength(1);
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 0], ["LOW", "e1", 0]])); // biome-ignore format: pairs
    socket.push(batch("agent:42", "CRITICAL", "e1", [[0, 1]]));
    socket.push(batch("agent:42", "LOW", "e1", [[0, 2]]));
    expect(all).toEqual(["id-1", "id-2"]);
    expect(low).toEqual(["id-2"]);
  });

  test("a wider request waits for its own answer", async () => {
    const offsets: bigint[] = [];
    const channel = makeClient().channel("agent:42");
    channel.subscribe((event) => offsets.push(event.offset), { lanes: ["CRITICAL"] });
    const socket = await gateway.welcome();
    channel.subscribe(() => {}, { lanes: ["LOW"] });
    expect(socket.commands("subscribe").at(-1)).toMatchObject({ lanes: ["PRIORITY_CRITICAL", "PRIORITY_LOW"] });
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 10]]));
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]]));
    expect(offsets, "the answer to the first request is out of date").toEqual([]);
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 11], ["LOW", "e1", 0]])); // biome-ignore format: pairs
    socket.push(batch("agent:42", "CRITICAL", "e1", [[11, 12]]));
    expect(offsets).toEqual([12n]);
  });

  test("the last one to leave unsubscribes", async () => {
    const { socket } = await live();
    const abort = new AbortController();
    const second = client.channel("agent:42").subscribe(() => {}, { signal: abort.signal });
    await expect(second.ready()).resolves.toBeUndefined();
    abort.abort();
    expect(socket.commands("unsubscribe")).toHaveLength(0);
    client.channel("bots:handoffs").subscribe(() => {}).unsubscribe(); // biome-ignore format: one thought
    expect(socket.lastCommand).toEqual({ unsubscribe: { channel: "bots:handoffs" } });
  });

  test("a refusal ends the subscription and says what to do", async () => {
    const errors: string[] = [];
    const subscription = makeClient()
      .channel("secret")
      .subscribe(() => {}, { onError: (error) => errors.push(error.remediation) });
    const socket = await gateway.welcome();
    socket.push({ error: { code: 4501, reason: "CHANNEL_FORBIDDEN", message: "no", channel: "secret" } });
    await expect(subscription.ready()).rejects.toMatchObject({ code: "CHANNEL_FORBIDDEN", channel: "secret" });
    expect(errors).toEqual([expect.stringContaining("token")]);
    expect(client.state.status).toBe("connected");
  });

  test("a refusal that may pass is tried again", async () => {
    makeClient()
      .channel("agent:42")
      .subscribe(() => {});
    const socket = await gateway.welcome();
    socket.push({ error: { code: 4000, reason: "CHANNEL_UNAVAILABLE", channel: "agent:42", retryable: true } });
    await vi.advanceTimersByTimeAsync(3_000);
    expect(socket.commands("subscribe")).toHaveLength(2);
  });

  test("a listener that throws does not stop the next one", async () => {
    const seen: string[] = [];
    const thrown: unknown[] = [];
    vi.stubGlobal("queueMicrotask", (task: () => void) => {
      try {
        task();
      } catch (error) {
        thrown.push(error);
      }
    });
    const channel = makeClient().channel("agent:42");
    channel.subscribe(() => {
      throw new Error("mine");
    });
    channel.subscribe((event) => seen.push(event.id));
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["HIGH", "e1", 0]]));
    socket.push(batch("agent:42", "HIGH", "e1", [[0, 1]]));
    vi.unstubAllGlobals();
    expect(seen).toEqual(["id-1"]);
    expect(thrown).toEqual([new Error("mine")]);
  });

  test("commands keep to the server's limit", async () => {
    makeClient();
    for (let index = 0; index < 25; index++) client.channel(`agent:${index}`).subscribe(() => {});
    const socket = await gateway.welcome(1, { limits: { maxCommandsPerSecond: 10 } });
    expect(socket.commands("subscribe")).toHaveLength(10);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.commands("subscribe")).toHaveLength(20);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.commands("subscribe")).toHaveLength(25);
  });

  test("the async iterator yields, and leaving the loop unsubscribes", async () => {
    const events = makeClient().channel("agent:42").events();
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["HIGH", "e1", 0]]));
    socket.push(batch("agent:42", "HIGH", "e1", [[0, 1], [1, 2]])); // biome-ignore format: pairs
    const ids: string[] = [];
    for await (const event of events) {
      ids.push(event.id);
      if (ids.length === 2) break;
    }
    expect(ids).toEqual(["id-1", "id-2"]);
    expect(socket.lastCommand).toEqual({ unsubscribe: { channel: "agent:42" } });
  });

  test("an iterator nobody reads ends with an error instead of growing", async () => {
    const events = makeClient().channel("agent:42").events({ capacity: 1 });
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["HIGH", "e1", 0]]));
    socket.push(batch("agent:42", "HIGH", "e1", [[0, 1], [1, 2]])); // biome-ignore format: pairs
    await expect(events.next()).resolves.toMatchObject({ value: { id: "id-1" } });
    await expect(events.next()).rejects.toMatchObject({ code: "SLOW_READER" });
  });
});

describe("reconnecting", () => {
  test("the delay grows, is spread from the first on, and starts over after success", async () => {
    makeClient({ backoff: { minMs: 2_000, maxMs: 15_000 } }).connect().catch(() => {}); // biome-ignore format: one thought
    const delays: number[] = [];
    for (let attempt = 1; attempt <= 4; attempt++) {
      (await gateway.opened(attempt)).drop(1006);
      const delay = (client.state.retryAt ?? 0) - Date.now();
      delays.push(delay);
      await vi.advanceTimersByTimeAsync(delay);
    }
    expect(delays).toEqual([3_000, 5_000, 8_500, 8_500]);
    (await gateway.welcome(5)).drop(1006);
    expect((client.state.retryAt ?? 0) - Date.now()).toBe(3_000);
  });

  test("several addresses are tried in turn", async () => {
    makeClient({ url: ["ws://one", "ws://two"] })
      .connect()
      .catch(() => {});
    (await gateway.opened(1)).drop(1006);
    await vi.advanceTimersByTimeAsync(3_000);
    await gateway.opened(2);
    expect(gateway.sockets.map((socket) => socket.url)).toEqual(["ws://one", "ws://two"]);
  });

  test("a drain keeps the connection up to its slot and comes back exactly then", async () => {
    const { socket } = await live();
    socket.push({ drain: { reconnectAfterMillis: 700 } });
    await vi.advanceTimersByTimeAsync(300);
    expect(client.state.status).toBe("connected");
    socket.drop(1001);
    expect((client.state.retryAt ?? 0) - Date.now()).toBe(400);
    await vi.advanceTimersByTimeAsync(400);
    expect(gateway.sockets).toHaveLength(2);
  });

  test("a drain whose slot comes first is followed without waiting for the close", async () => {
    const { socket } = await live();
    socket.push({ drain: { reconnectAfterMillis: 700 } });
    await vi.advanceTimersByTimeAsync(701);
    await gateway.opened(2);
    expect(socket.closedWith).toBe(1000);
  });

  test("a page that comes back does not wait out the delay", async () => {
    const { socket } = await live();
    socket.drop(1006);
    gateway.lifecycle.dispatchEvent(new Event("online"));
    await gateway.opened(2);
  });

  test("a hidden page does not hurry", async () => {
    const { socket } = await live();
    socket.drop(1006);
    gateway.hidden = true;
    gateway.lifecycle.dispatchEvent(new Event("visibilitychange"));
    await vi.advanceTimersByTimeAsync(100);
    expect(gateway.sockets).toHaveLength(1);
  });

  test("a server that is silent for two heartbeats is left", async () => {
    await live();
    await vi.advanceTimersByTimeAsync(45_001);
    expect(client.state).toMatchObject({ status: "reconnecting", error: { code: "CONNECTION_LOST" } });
  });

  test("a frame that cannot be read ends the connection, not the client", async () => {
    const { socket } = await live();
    socket.onmessage?.({ data: "{" });
    expect(client.state).toMatchObject({ status: "reconnecting", error: { code: "BAD_FRAME" } });
  });

  test("the reason of a fatal error frame is the reason of the close", async () => {
    const { socket } = await live();
    socket.push({ error: { code: 3503, reason: "REVOKED", message: "signed out", fatal: true } });
    socket.drop(3503);
    expect(client.state).toMatchObject({ status: "failed", error: { code: "REVOKED" } });
    expect(client.state.error?.message).toContain("signed out");
  });
});

describe("heartbeat, clock and latency", () => {
  test("answers a ping with its own two times", async () => {
    const { socket } = await live();
    socket.push({ ping: { sequence: "7", serverSendTimeUnixNano: gateway.nanos() } });
    const now = String(BigInt(Date.now()) * 1_000_000n);
    expect(socket.lastCommand).toEqual({
      pong: { sequence: "7", clientReceiveTimeUnixNano: now, clientSendTimeUnixNano: now, probe: true },
    });
  });

  test("measures one way and each hop across clocks that differ", async () => {
    gateway.skew = 5_000_000;
    const events: LanecastEvent<AiEvents>[] = [];
    makeClient()
      .channel("agent:42")
      .subscribe((event) => events.push(event));
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 0]]));
    const stamps = {
      createTimeUnixNano: gateway.nanos(9),
      sendTimeUnixNano: gateway.nanos(8),
      acceptTimeUnixNano: gateway.nanos(6),
      storeTimeUnixNano: gateway.nanos(5),
    };
    const times = {
      flushTimeUnixNano: gateway.nanos(5),
      edgeReceiveTimeUnixNano: gateway.nanos(3),
      edgeSendTimeUnixNano: gateway.nanos(3),
    };
    socket.push(batch("agent:42", "CRITICAL", "e1", [[0, 1]], times, stamps));
    expect(client.clock).toEqual({ offsetMicros: -5_000_000, uncertaintyMicros: 0 });
    const latency = events[0]?.latency;
    expect(latency).toMatchObject({ oneWayMs: 8, uncertaintyMs: 0, grade: "excellent" });
    const hops = { sdk_queue: 1, ingest: 2, log: 1, lane_wait: 0, transit: 2, edge_wait: 0, last_mile: 3 };
    expect(Object.keys(latency?.hops ?? {})).toEqual(Object.keys(hops));
    for (const [hop, ms] of Object.entries(hops)) {
      expect(latency?.hops[hop as Hop], hop).toBeCloseTo(ms, 2);
    }
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.commands("receipt")).toEqual([
      {
        samples: [
          {
            lane: "PRIORITY_CRITICAL",
            offset: "1",
            type: "lanecast.ai.v1.ConciergeInsight",
            lastMileMicros: "3000",
            uncertaintyMicros: 0,
            endToEndMicros: "8000",
            traceContext: "",
          },
        ],
      },
    ]);
  });

  test("forgets the difference of the clocks when one of them is set", async () => {
    const { socket } = await live();
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]]));
    expect(client.clock).not.toBeNull();
    gateway.wallAhead = 3_600_000_000;
    socket.push(batch("agent:42", "CRITICAL", "e1", [[11, 12]]));
    expect(client.clock).toBeNull();
  });

  test("a page that is held for a while is no clock that was set", async () => {
    const { socket } = await live();
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]]));
    gateway.heldMs = 300;
    socket.push(batch("agent:42", "CRITICAL", "e1", [[11, 12]]));
    expect(client.clock).not.toBeNull();
  });

  test("replayed events have no latency and are not reported", async () => {
    const latencies: unknown[] = [];
    makeClient()
      .channel("agent:42")
      .subscribe((event) => latencies.push([event.delivery, event.latency]));
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 0]]));
    const stamps = { sendTimeUnixNano: gateway.nanos(5) };
    socket.push(batch("agent:42", "CRITICAL", "e1", [[0, 1]], { replayed: true }, stamps));
    await vi.advanceTimersByTimeAsync(2_000);
    expect(latencies).toEqual([["recovered", null]]);
    expect(socket.commands("receipt")).toEqual([]);
  });

  test("a token is replaced before it ends", async () => {
    let number = 0;
    makeClient({ getToken: () => `token-${++number}` })
      .connect()
      .catch(() => {});
    const socket = await gateway.welcome(1, { tokenExpiresUnix: String(Date.now() / 1000 + 100) });
    for (let second = 0; second < 79; second += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      socket.push({ ping: { sequence: "1", serverSendTimeUnixNano: gateway.nanos() } });
    }
    expect(socket.commands("refreshToken")).toEqual([]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(socket.commands("refreshToken")).toEqual([{ token: "token-2" }]);
    socket.push({ tokenRefreshed: { tokenExpiresUnix: String(Date.now() / 1000 + 100) } });
  });
});
