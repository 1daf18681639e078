// The public API of @lanecast/client/sw: the module an app's service worker is made of. Wires the browser's events to the
// shell, the polls and the outbox, and owns what is known of the worker itself.

import { knownUsers } from "../offline/database.ts";
import {
  ask,
  type TokenRequest,
  type WakeCause,
  type WorkerPoll,
  type WorkerRequest,
  type WorkerStatus,
} from "../offline/messages.ts";
import { Outbox } from "../offline/outbox.ts";
import type { KeptEvent } from "../types.ts";
import { CatchUp } from "./catch-up.ts";
import type { MessageFromPage, WorkerScope } from "./scope.ts";
import { Shell, type ShellOptions } from "./shell.ts";

export type { KeptEvent, WakeCause, WorkerPoll, WorkerScope, WorkerStatus };

export interface StartOptions extends ShellOptions {
  /**
   * A token of exactly this user where no page is open to be asked, as from a session cookie; null where somebody else,
   * or nobody, is signed in. It is never stored. Default: none can be had then.
   */
  readonly getToken?: (user: string) => string | null | Promise<string | null>;
  /** Told of the events a wake-up has brought, and of each push even if it brought none: browsers demand that a push
   * message shows a notification. */
  readonly onEvents?: (events: readonly KeptEvent[], cause: WakeCause) => void | Promise<void>;
}

/** Pages that are opened one after the other need no poll each; milliseconds. */
const PAGE_PAUSE_MS = 15_000;

/** Makes this worker serve the app. Call it once, at the top level of the worker's script. */
export function startServiceWorker(options: StartOptions, scope: WorkerScope = globalThis as never): void {
  const worker = new Worker(options, scope);
  const shell = new Shell(scope, options);
  scope.addEventListener("install", (event) => event.waitUntil(shell.install()));
  scope.addEventListener("activate", (event) => event.waitUntil(shell.activate().then(() => scope.clients.claim())));
  scope.addEventListener("fetch", (event) => {
    if (event.request.mode === "navigate") event.waitUntil(worker.pageOpened());
    const answer = shell.answer(event.request);
    if (answer) event.respondWith(answer);
  });
  scope.addEventListener("message", (event) => worker.message(event));
  scope.addEventListener("push", (event) => event.waitUntil(worker.wake("push")));
  scope.addEventListener("periodicsync", (event) => event.waitUntil(worker.wake("periodicsync")));
  scope.addEventListener("sync", (event) => {
    // A sync that fails is repeated by the browser, with growing delays.
    event.waitUntil(
      worker.wake("sync").then((done) => {
        if (!done) throw new Error("something is left to be sent or fetched");
      }),
    );
  });
}

class Worker {
  readonly #options: StartOptions;
  readonly #scope: WorkerScope;
  #lastPoll: WorkerPoll | null = null;
  #opened = 0;
  /** The wake-up under way; what comes meanwhile waits for it and then looks again. */
  #waking: Promise<unknown> = Promise.resolve();

  constructor(options: StartOptions, scope: WorkerScope) {
    this.#options = options;
    this.#scope = scope;
  }

  /** Polls and sends for every user of whom something is kept. Resolves to false where some of it should be repeated. */
  wake(cause: WakeCause): Promise<boolean> {
    const turn = this.#waking.then(() => this.#wake(cause));
    this.#waking = turn.catch(() => {}); // whoever asked for it hears of it
    return turn;
  }

  async pageOpened(): Promise<void> {
    if (Date.now() - this.#opened < PAGE_PAUSE_MS) return;
    this.#opened = Date.now();
    await this.wake("page");
  }

  message(event: MessageFromPage): void {
    const request = event.data as WorkerRequest | null;
    const [port] = event.ports;
    if (request?.lanecast === "activate") event.waitUntil(this.#scope.skipWaiting());
    else if (request?.lanecast === "status") port?.postMessage(this.#status());
    else if (request?.lanecast === "wake") {
      event.waitUntil(this.wake("message").then((done) => port?.postMessage(done)));
    }
  }

  async #wake(cause: WakeCause): Promise<boolean> {
    const events: KeptEvent[] = [];
    let outcome: WorkerPoll["outcome"] = "nothing-watched";
    let left = 0;
    const { indexedDB } = this.#scope;
    const send: typeof fetch = (input, init) => this.#scope.fetch(input, init);
    for (const user of await knownUsers(indexedDB)) {
      left += (await new Outbox({ user, indexedDB, fetch: send }).flush()).left;
      const catchUp = new CatchUp({ user, indexedDB, fetch: send, token: () => this.#token(user) });
      const own = await catchUp.run();
      events.push(...catchUp.events);
      if (own !== "nothing-watched") outcome = own;
    }
    this.#lastPoll = { at: Date.now(), cause, events: events.length, outcome };
    if (events.length > 0 || cause === "push") await this.#options.onEvents?.(events, cause);
    return left === 0 && outcome !== "unreachable";
  }

  /** A token of this user: of a page that is open, else as the app says. */
  async #token(user: string): Promise<string | null> {
    const request: TokenRequest = { lanecast: "token", user };
    const pages = await this.#scope.clients.matchAll({ type: "window" });
    const answers = await Promise.all(pages.map((page) => ask<string>(page, request)));
    const token = answers.find((answer) => typeof answer === "string");
    return token ?? (await this.#options.getToken?.(user)) ?? null;
  }

  #status(): WorkerStatus {
    const { registration } = this.#scope;
    return {
      version: this.#options.version,
      push: "pushManager" in registration,
      sync: "sync" in registration,
      periodicSync: "periodicSync" in registration,
      lastPoll: this.#lastPoll,
    };
  }
}
