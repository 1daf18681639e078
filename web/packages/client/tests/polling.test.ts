// The fallback where no WebSocket comes through: when polls begin and end, and that no change of transport costs an event.

import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type AiEvents, type Client, type ClientOptions, createClient, type Gap, LanecastError } from "../src/index.ts";
import { groups } from "../src/poll.ts";
import { batch, FakeGateway, type FakePoll, subscribed } from "./fake-gateway.ts";

let gateway: FakeGateway;
let client: Client<AiEvents>;
let seen: string[];
let tokens: number;

function makeClient(options: Partial<ClientOptions> = {}): Client<AiEvents> {
  client = createClient<AiEvents>({
    url: "wss://gateway.test/v1/ws",
    getToken: () => `token-${++tokens}`,
    codec: "json",
    environment: gateway.environment,
    ...options,
  });
  return client;
}

function listen(channel = "agent:42", options = {}) {
  return client.channel(channel).subscribe(({ delivery, offset }) => seen.push(`${delivery}:${offset}`), options);
}

/** Lets the next `count` attempts to connect fail. */
async function fail(count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const socket = await gateway.opened(gateway.sockets.length || 1);
    socket.drop(1006);
    if (n < count - 1) await vi.advanceTimersByTimeAsync((client.state.retryAt ?? 0) - Date.now());
  }
}

/** Brings a client without any position to its first poll. */
async function polling(options: Partial<ClientOptions> = {}): Promise<FakePoll> {
  makeClient(options);
  listen();
  await fail(3);
  return gateway.polled(1);
}

// The client loads the module by itself; here it must not take longer than the turns a test waits.
beforeAll(() => import("../src/poller.ts"));

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1), toFake: ["setTimeout", "clearTimeout", "Date"] });
  gateway = new FakeGateway();
  seen = [];
  tokens = 0;
});

afterEach(() => {
  client.close();
  expect(vi.getTimerCount(), "a closed client leaves no timer").toBe(0);
  vi.useRealTimers();
});

describe("polling", () => {
  test("begins after three failures, for CRITICAL, with the token in a header and nowhere else", async () => {
    makeClient();
    listen();
    await fail(2);
    expect(gateway.polls).toHaveLength(0);
    await vi.advanceTimersByTimeAsync((client.state.retryAt ?? 0) - Date.now());
    await fail(1);
    const poll = await gateway.polled(1);
    expect(poll.url).toBe("https://gateway.test/v1/poll?channel=agent%3A42&lanes=CRITICAL&wait=0");
    expect(poll.token).toBe("Bearer token-4");
    expect(client.state.status).toBe("reconnecting");
    await poll.answer([subscribed("agent:42", [["CRITICAL", "e1", 10]])]);
    expect(client.state.status).toBe("polling");
  });

  test("delivers from where the connection left off, and goes on behind what came", async () => {
    makeClient();
    const subscription = listen();
    const socket = await gateway.welcome();
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 10]]));
    socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]]));
    socket.drop(1006);
    for (let n = 2; n <= 3; n += 1) {
      await vi.advanceTimersByTimeAsync((client.state.retryAt ?? 0) - Date.now());
      (await gateway.opened(n)).drop(1006);
    }
    const first = await gateway.polled(1);
    expect(first.after).toEqual({ "agent:42": [["CRITICAL", "e1", "11"]] });
    await first.answer([
      subscribed("agent:42", [["CRITICAL", "e1", 11]], { wasRecovering: true, recovered: true }),
      batch(
        "agent:42",
        "CRITICAL",
        "e1",
        [
          [11, 12],
          [12, 14],
        ],
        { replayed: true },
      ),
    ]);
    const second = await gateway.polled(2);
    expect(second.after).toEqual({ "agent:42": [["CRITICAL", "e1", "14"]] });
    expect(second.query.get("wait")).toBe("25");
    expect(seen).toEqual(["live:11", "polled:12", "polled:14"]);
    expect(subscription.continuity()).toMatchObject({ delivered: 3, duplicates: 0, gaps: 0, holes: 0, resumes: 0 });
  });

  test("gives way to the connection: an answer under way is dropped and comes there, once", async () => {
    const first = await polling();
    await first.answer([
      subscribed("agent:42", [["CRITICAL", "e1", 10]]),
      batch("agent:42", "CRITICAL", "e1", [[10, 11]]),
    ]);
    const pending = await gateway.polled(2);
    await vi.advanceTimersByTimeAsync((client.state.retryAt ?? 0) - Date.now());
    const socket = await gateway.welcome(4);
    expect(client.state.status).toBe("connected");
    expect(pending.aborted()).toBe(true);
    expect(socket.commands("subscribe")[0]).toMatchObject({
      positions: [{ lane: "PRIORITY_CRITICAL", epoch: "e1", offset: "11" }],
    });
    await pending.answer([batch("agent:42", "CRITICAL", "e1", [[11, 12]])]);
    socket.push(subscribed("agent:42", [["CRITICAL", "e1", 11]], { wasRecovering: true, recovered: true }));
    socket.push(batch("agent:42", "CRITICAL", "e1", [[11, 12]], { replayed: true }));
    expect(seen).toEqual(["polled:11", "recovered:12"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(gateway.polls).toHaveLength(2);
  });

  test("a failed attempt to connect beside it disturbs nothing", async () => {
    const first = await polling();
    await first.answer([subscribed("agent:42", [["CRITICAL", "e1", 10]])]);
    const pending = await gateway.polled(2);
    await vi.advanceTimersByTimeAsync((client.state.retryAt ?? 0) - Date.now());
    (await gateway.opened(4)).drop(1006);
    expect(client.state.status).toBe("polling");
    expect(pending.aborted()).toBe(false);
    await pending.answer([batch("agent:42", "CRITICAL", "e1", [[10, 12]])]);
    expect(seen).toEqual(["polled:12"]);
  });

  test("a channel begins where its subscription says, and is ready without a connection", async () => {
    makeClient();
    const ready = listen("agent:42", { since: { last: 20 } }).ready();
    listen("agent:7", { since: "earliest" });
    listen("agent:8", { lanes: ["LOW"] });
    await fail(3);
    await gateway.polled(2);
    expect(gateway.polls.map(({ query }) => [query.get("channel"), query.get("start"), query.get("last")])).toEqual([
      ["agent:42", "LAST_N", "20"],
      ["agent:7", "EARLIEST", null],
    ]);
    await gateway.polls[0]?.answer([subscribed("agent:42", [["CRITICAL", "e1", 10]])]);
    await expect(ready).resolves.toBeUndefined();
  });

  test("what is subscribed later is asked for at once, and what nobody wants no more", async () => {
    const first = await polling();
    await first.answer([subscribed("agent:42", [["CRITICAL", "e1", 10]])]);
    const pending = await gateway.polled(2);
    const other = listen("agent:7");
    const both = await gateway.polled(3);
    expect(pending.aborted()).toBe(true);
    expect(both.query.getAll("channel")).toEqual(["agent:42", "agent:7"]);
    other.unsubscribe();
    expect((await gateway.polled(4)).query.getAll("channel")).toEqual(["agent:42"]);
  });

  test("a hole is asked for again, and told where it stays", async () => {
    const gaps: Gap[] = [];
    makeClient();
    listen("agent:42", { onGap: (gap: Gap) => gaps.push(gap) });
    await fail(3);
    const hole = [batch("agent:42", "CRITICAL", "e1", [[12, 13]]), batch("agent:42", "CRITICAL", "e1", [[13, 14]])];
    await (await gateway.polled(1)).answer([subscribed("agent:42", [["CRITICAL", "e1", 10]]), ...hole]);
    expect(seen).toEqual([]);
    const again = await gateway.polled(2);
    expect(again.after).toEqual({ "agent:42": [["CRITICAL", "e1", "10"]] });
    await again.answer(hole);
    expect(seen).toEqual(["polled:13", "polled:14"]);
    expect(gaps).toMatchObject([{ reason: "UNEXPLAINED", fromOffset: 10n, toOffset: 12n }]);
  });

  test("a network that fails is tried again with growing delays, and is not called polling", async () => {
    const first = await polling();
    await first.answer([subscribed("agent:42", [["CRITICAL", "e1", 10]])]);
    await (await gateway.polled(2)).fail();
    expect(client.state.status).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(2_900);
    expect(gateway.polls).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(200);
    const third = await gateway.polled(3);
    expect(third.query.get("wait"), "whether it works must not take as long as a long poll").toBe("0");
    await third.answer([]);
    expect(client.state.status).toBe("polling");
  });

  test("a token that has ended is replaced; a gateway that takes none is believed", async () => {
    const first = await polling();
    await first.answer([], 401);
    await vi.advanceTimersByTimeAsync(1);
    const second = await gateway.polled(2);
    expect([first.token, second.token]).toEqual(["Bearer token-4", "Bearer token-5"]);
    await second.answer([{ error: { code: 3503, reason: "REVOKED", fatal: true } }], 401);
    expect(client.state).toMatchObject({ status: "failed", error: { code: "REVOKED" } });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(gateway.polls).toHaveLength(2);
  });

  test("a token that is refused for good ends the polls too", async () => {
    let signedIn = true;
    const refusal = new LanecastError("SIGNED_OUT", "nobody is signed in", {
      retryable: false,
      remediation: "Sign in.",
    });
    const getToken = () => {
      if (!signedIn) throw refusal;
      return "token";
    };
    const first = await polling({ getToken });
    signedIn = false;
    await first.answer([], 401);
    await vi.advanceTimersByTimeAsync(1);
    expect(client.state).toMatchObject({ status: "failed", error: { code: "SIGNED_OUT" } });
  });

  test("a drain is waited out", async () => {
    const first = await polling();
    await first.answer([subscribed("agent:42", [["CRITICAL", "e1", 10]]), { drain: { reconnectAfterMillis: 4_000 } }]);
    await vi.advanceTimersByTimeAsync(3_900);
    expect(gateway.polls).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(200);
    await gateway.polled(2);
  });

  test("a refused channel ends its subscription; the others go on", async () => {
    const errors: string[] = [];
    makeClient();
    listen();
    listen("agent:7", { onError: (error: LanecastError) => errors.push(error.code) });
    await fail(3);
    await (await gateway.polled(1)).answer([
      subscribed("agent:42", [["CRITICAL", "e1", 10]]),
      { error: { code: 4501, reason: "CHANNEL_FORBIDDEN", channel: "agent:7" } },
    ]);
    expect(errors).toEqual(["CHANNEL_FORBIDDEN"]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect((await gateway.polled(2)).query.getAll("channel")).toEqual(["agent:42"]);
  });

  test("a page that comes back does not wait out the delay", async () => {
    const first = await polling();
    await first.fail();
    gateway.lifecycle.dispatchEvent(new Event("online"));
    await gateway.polled(2);
  });

  test("can be moved, delayed and switched off", async () => {
    makeClient({ polling: { afterFailures: 1, url: "https://polls.test/p" } });
    listen();
    await fail(1);
    expect((await gateway.polled(1)).url).toMatch(/^https:\/\/polls\.test\/p\?/);
    client.close();
    makeClient({ polling: false });
    listen();
    await vi.advanceTimersByTimeAsync(60_000);
    for (let n = 2; n < 8; n += 1) {
      (await gateway.opened(n)).drop(1006);
      await vi.advanceTimersByTimeAsync(15_000);
    }
    expect(gateway.polls).toHaveLength(1);
  });
});

test("a page that is kept for later lets go of its socket, and resumes when it is shown again", async () => {
  makeClient();
  listen();
  const socket = await gateway.welcome();
  socket.push(subscribed("agent:42", [["CRITICAL", "e1", 10]]));
  gateway.lifecycle.dispatchEvent(new Event("pagehide"));
  expect(client.state.status).toBe("connected");
  gateway.lifecycle.dispatchEvent(Object.assign(new Event("pagehide"), { persisted: true }));
  expect(socket.closedWith).toBe(1000);
  gateway.lifecycle.dispatchEvent(new Event("pageshow"));
  const next = await gateway.welcome(2);
  expect(next.commands("subscribe")[0]).toMatchObject({ positions: [{ offset: "10" }] });
});

test("channels are parted so that no request is longer than servers take", () => {
  const position = { lane: "CRITICAL", epoch: "e".repeat(32), offset: 12_345n } as const;
  const channels = Array.from({ length: 100 }, (_, n) => ({
    channel: `agent:ä${n}`,
    since: "latest" as const,
    position,
  }));
  const parted = groups(channels);
  expect(parted.flat()).toEqual(channels);
  expect(parted.length).toBeLessThan(8);
  expect(Math.max(...parted.map(({ length }) => length))).toBeLessThanOrEqual(32);
});
