// The service worker in surroundings made of memory: a real IndexedDB, caches as maps, and a gateway that answers polls.

import { IDBFactory, IDBKeyRange } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { OfflineStore, Outbox } from "../src/offline/index.ts";
import type { TokenRequest, WorkerStatus } from "../src/offline/messages.ts";
import { type StartOptions, startServiceWorker } from "../src/sw/index.ts";
import type { WorkerEvents, WorkerScope } from "../src/sw/scope.ts";
import { batch, type JsonFrame, subscribed } from "./fake-gateway.ts";

vi.stubGlobal("IDBKeyRange", IDBKeyRange);

const ORIGIN = "https://app.test";
const POLL = "https://gateway.test/v1/poll";

/** One cache per name, one text per address. */
class FakeCaches {
  readonly all = new Map<string, Map<string, Response>>();

  async open(name: string) {
    const entries = this.all.get(name) ?? new Map<string, Response>();
    this.all.set(name, entries);
    return {
      put: async (address: string, response: Response) => void entries.set(address, response),
      match: async (address: string) => entries.get(address)?.clone(),
    };
  }

  keys = async () => [...this.all.keys()];
  delete = async (name: string) => this.all.delete(name);
}

class FakeScope {
  readonly caches = new FakeCaches();
  readonly indexedDB = new IDBFactory();
  readonly location = { href: `${ORIGIN}/app/sw.js` };
  readonly registration = { scope: `${ORIGIN}/app/`, pushManager: {}, sync: {} };
  readonly listeners = new Map<string, (event: never) => void>();
  /** What open pages answer when they are asked for a token: one entry a page. */
  pages: (string | null)[] = [];
  asked: TokenRequest[] = [];
  skipped = false;
  claimed = false;
  requests: { url: string; headers: Record<string, string> }[] = [];
  network: (url: string) => Response | null = (url) => new Response(`network ${url}`);

  readonly clients = {
    claim: async () => {
      this.claimed = true;
    },
    matchAll: async () =>
      this.pages.map((token) => ({
        postMessage: (message: TokenRequest, [port]: MessagePort[]) => {
          this.asked.push(message);
          port?.postMessage(token);
        },
      })),
  };

  fetch = async (input: string | Request, init: RequestInit = {}): Promise<Response> => {
    const url = typeof input === "string" ? input : input.url;
    this.requests.push({ url, headers: (init.headers ?? {}) as Record<string, string> });
    const response = this.network(url);
    if (!response) throw new TypeError("no network");
    return response;
  };

  async skipWaiting() {
    this.skipped = true;
  }

  addEventListener(type: string, listener: (event: never) => void) {
    this.listeners.set(type, listener);
  }

  /** Raises an event; resolves with what it was told to answer, once all it waits for is done. */
  async raise(type: keyof WorkerEvents, fields: object = {}): Promise<Response | undefined> {
    const work: Promise<unknown>[] = [];
    let answer: Promise<Response> | undefined;
    const event = {
      ...fields,
      waitUntil: (promise: Promise<unknown>) => work.push(promise),
      respondWith: (response: Promise<Response>) => {
        answer = response;
      },
    };
    this.listeners.get(type)?.(event as never);
    await Promise.all(work);
    return answer;
  }

  /** Asks as a page does. */
  async ask<T>(message: object): Promise<T> {
    const { port1, port2 } = new MessageChannel();
    const answer = new Promise<T>((resolve) => {
      port1.onmessage = ({ data }) => resolve(data);
    });
    await this.raise("message", { data: message, ports: [port2] });
    const value = await answer;
    port1.close();
    return value;
  }
}

let scope: FakeScope;
const stores: OfflineStore[] = [];

function start(options: Partial<StartOptions> = {}): void {
  const shell = ["./", "assets/app-1.js"];
  startServiceWorker({ shell, version: "v1", ...options }, scope as unknown as WorkerScope);
}

function store(user = "agent-7"): OfflineStore {
  const made = new OfflineStore({ user, indexedDB: scope.indexedDB });
  stores.push(made);
  return made;
}

async function watch(user = "agent-7", channels = ["agent:42"]): Promise<OfflineStore> {
  const made = store(user);
  await made.watch({ pollUrl: POLL, channels });
  return made;
}

const navigation = (path: string) => ({ request: { method: "GET", mode: "navigate", url: ORIGIN + path } });
const file = (path: string, method = "GET") => ({ request: { method, mode: "no-cors", url: ORIGIN + path } });

function frames(...list: JsonFrame[]): Response {
  return Response.json({ frames: list, next: "" });
}

const cursors = () =>
  scope.requests
    .filter(({ url }) => url.startsWith(POLL))
    .map(({ url }) => {
      const after = new URL(url).searchParams.get("after");
      return after ? JSON.parse(Buffer.from(after, "base64url").toString()) : null;
    });

const kept = async (user = "agent-7") => {
  const { events, positions } = await store(user).restore("agent:42");
  return { offsets: events.map(({ offset }) => offset), cursor: positions[0]?.offset };
};

beforeEach(() => {
  scope = new FakeScope();
});

afterEach(async () => {
  for (const one of stores.splice(0)) await one.close();
});

describe("the shell", () => {
  test("answers the app's own files and navigations from the cache, and nothing else", async () => {
    start();
    await scope.raise("install");
    scope.network = () => null;
    const text = async (fields: object) => (await scope.raise("fetch", fields))?.text();
    expect(await text(file("/app/assets/app-1.js"))).toBe(`network ${ORIGIN}/app/assets/app-1.js`);
    expect(await text(navigation("/app/"))).toBe(`network ${ORIGIN}/app/`);
    expect(await text(navigation("/app/some/view?agent=42"))).toBe(`network ${ORIGIN}/app/`);
    expect(await text(file("/app/api/session"))).toBeUndefined();
    expect(await text(file("/app/assets/app-1.js", "POST"))).toBeUndefined();
  });

  test("leaves navigations to the network that are not the app's", async () => {
    start({ navigations: (url) => !url.pathname.startsWith("/app/api/") });
    await scope.raise("install");
    expect(await scope.raise("fetch", navigation("/app/api/export"))).toBeUndefined();
    expect(await scope.raise("fetch", navigation("/app/view"))).toBeDefined();
  });

  test("is kept whole or not at all", async () => {
    start();
    scope.network = (url) => new Response("", { status: url.endsWith(".js") ? 404 : 200 });
    await expect(scope.raise("install")).rejects.toThrow("app-1.js of the app's shell: the server answered 404");
  });

  test("a new version replaces the old one, and only its own", async () => {
    await scope.caches.open(`lanecast-shell:${ORIGIN}/other/:v0`);
    await scope.caches.open(`lanecast-shell:${ORIGIN}/app/:v0`);
    start();
    await scope.raise("install");
    await scope.raise("activate");
    expect([...scope.caches.all.keys()]).toEqual([
      `lanecast-shell:${ORIGIN}/other/:v0`,
      `lanecast-shell:${ORIGIN}/app/:v1`,
    ]);
    expect(scope.claimed).toBe(true);
    expect(scope.skipped).toBe(false);
    await scope.raise("message", { data: { lanecast: "activate" }, ports: [] });
    expect(scope.skipped).toBe(true);
  });

  test("a cache the browser has cleared is made good by the network", async () => {
    start();
    await scope.raise("install");
    scope.caches.all.clear();
    expect(await (await scope.raise("fetch", file("/app/assets/app-1.js")))?.text()).toContain("network");
  });
});

describe("waking up", () => {
  test("fetches what is new behind what is kept, and a page goes on from there", async () => {
    const page = await watch();
    page.keep("agent:42", [], [{ lane: "CRITICAL", epoch: "e1", offset: 10n }]);
    await page.flush();
    start();
    scope.pages = ["token-1"];
    const answers = [
      frames(
        batch("agent:42", "CRITICAL", "e1", [
          [10, 11],
          [11, 13],
        ]),
      ),
      frames(),
    ];
    scope.network = () => answers.shift() ?? null;
    await scope.raise("sync", { tag: "lanecast-poll" });
    expect(cursors()).toEqual([10, 13].map((offset) => ({ "agent:42": [["CRITICAL", "e1", `${offset}`]] })));
    expect(scope.requests[0]?.headers.Authorization).toBe("Bearer token-1");
    expect(await kept()).toEqual({ offsets: [11n, 13n], cursor: 13n });
    const status = await scope.ask<WorkerStatus>({ lanecast: "status" });
    expect(status).toMatchObject({ version: "v1", push: true, sync: true, periodicSync: false });
    expect(status.lastPoll).toMatchObject({ cause: "sync", events: 2, outcome: "ok" });
  });

  test("begins with the newest where nothing is kept", async () => {
    await watch();
    start({ getToken: () => "token-1" });
    scope.network = () => frames(subscribed("agent:42", [["CRITICAL", "e1", 10]]));
    await scope.raise("periodicsync", { tag: "lanecast-poll" });
    expect(scope.requests[0]?.url).toContain("start=LAST_N&last=20");
    expect(await kept()).toEqual({ offsets: [], cursor: 10n });
  });

  test("asks pages for the token of that very user, then the app, and keeps it nowhere", async () => {
    await watch();
    const users: string[] = [];
    start({
      getToken: (user) => {
        users.push(user);
        return null;
      },
    });
    scope.pages = [null];
    expect(await scope.ask({ lanecast: "wake" })).toBe(true);
    expect(scope.asked).toEqual([{ lanecast: "token", user: "agent-7" }]);
    expect(users).toEqual(["agent-7"]);
    expect(scope.requests).toEqual([]);
    expect((await scope.ask<WorkerStatus>({ lanecast: "status" })).lastPoll?.outcome).toBe("no-token");
  });

  test("a user who was wiped is not polled for any more", async () => {
    await (await watch()).wipe();
    start({ getToken: () => "token-1" });
    await scope.raise("push");
    expect(scope.requests).toEqual([]);
  });

  test("what comes after the user was wiped is kept nowhere", async () => {
    const page = await watch();
    start({ getToken: () => "token-1" });
    let answer: (response: Response) => void = () => {};
    let arrived: () => void = () => {};
    const polled = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const first = new Promise<Response>((resolve) => {
      answer = resolve;
    });
    let polls = 0;
    scope.fetch = async () => {
      polls += 1;
      arrived();
      return polls === 1 ? first : frames();
    };
    const woken = scope.raise("push");
    await polled;
    await page.wipe();
    answer(frames(batch("agent:42", "CRITICAL", "e1", [[10, 11]])));
    await woken;
    expect((await scope.indexedDB.databases()).map(({ name }) => name)).not.toContain("lanecast:agent-7");
  });

  test("without a network a sync fails, so that the browser repeats it; what waits is sent then", async () => {
    await watch();
    const outbox = new Outbox({ user: "agent-7", indexedDB: scope.indexedDB });
    await outbox.add({ url: `${ORIGIN}/app/done`, body: "1" });
    start({ getToken: () => "token-1" });
    scope.network = () => null;
    await expect(scope.raise("sync", { tag: "lanecast-outbox" })).rejects.toThrow("left to be sent");
    scope.network = (url) => (url.startsWith(POLL) ? frames() : new Response());
    await scope.raise("sync", { tag: "lanecast-outbox" });
    expect(await outbox.size()).toBe(0);
  });

  test("tells the app what came, and of each push", async () => {
    await watch();
    const told: string[] = [];
    const onEvents: StartOptions["onEvents"] = (events, cause) =>
      void told.push(`${cause}:${events.map(({ offset }) => offset)}`);
    start({ getToken: () => "token-1", onEvents });
    const answers = [
      frames(subscribed("agent:42", [["CRITICAL", "e1", 10]]), batch("agent:42", "CRITICAL", "e1", [[10, 11]])),
      frames(),
      frames(),
      frames(),
    ];
    scope.network = () => answers.shift() ?? null;
    await scope.raise("push");
    await scope.raise("push");
    await scope.raise("sync", { tag: "lanecast-poll" });
    expect(told).toEqual(["push:11", "push:"]);
  });

  test("pages that are opened one after the other poll once", async () => {
    await watch();
    start({ getToken: () => "token-1" });
    await scope.raise("install");
    scope.network = () => frames();
    scope.requests = [];
    await scope.raise("fetch", navigation("/app/"));
    await scope.raise("fetch", navigation("/app/"));
    expect(cursors()).toHaveLength(1);
  });

  test("a gateway that refuses the token is told apart from one that is away", async () => {
    await watch();
    start({ getToken: () => "token-1" });
    scope.network = () => new Response("", { status: 401 });
    await scope.raise("push");
    expect((await scope.ask<WorkerStatus>({ lanecast: "status" })).lastPoll?.outcome).toBe("refused");
    scope.network = () => new Response("", { status: 503 });
    await scope.raise("push");
    expect((await scope.ask<WorkerStatus>({ lanecast: "status" })).lastPoll?.outcome).toBe("unreachable");
  });
});
