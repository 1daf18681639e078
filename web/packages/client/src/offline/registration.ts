// The page's side of the service worker: registers it, tells it what to poll, answers its question for a token.

import { pollUrl } from "../url.ts";
import { ask, POLL_SYNC, type TokenRequest, type WorkerRequest, type WorkerStatus } from "./messages.ts";
import { OUTBOX_SYNC } from "./outbox.ts";
import { OfflineStore } from "./store.ts";

/** How often a browser that wakes workers by itself is asked to, at most. */
const PERIOD_MS = 15 * 60_000;

export interface ServiceWorkerOptions {
  /** Address of the worker's script; its folder is what it controls. */
  readonly script: string;
  /** Default: the folder of the script. */
  readonly scope?: string;
  /** As given to `OfflineStore`. */
  readonly user: string;
  /** The gateway's WebSocket address, as given to `createClient`, from which the one for polls follows. */
  readonly url: string;
  /** Default: that of `url`, with `http` for `ws` and `/poll` for `/ws` at its end. */
  readonly pollUrl?: string;
  /** The channels whose CRITICAL lane the worker polls. */
  readonly channels: readonly string[];
  /** A token of this user for the worker, asked for while this page is open. It is never stored. */
  readonly getToken: () => string | Promise<string>;
  /** Told why something did not work: the page works on without it. Default: nothing is told. */
  readonly onError?: (error: Error) => void;
}

export interface RegisteredWorker {
  readonly registration: ServiceWorkerRegistration;
  /** Asks the worker how it is; null where it does not answer. */
  status(): Promise<WorkerStatus | null>;
  /** Has the worker poll and send what waits: by background sync where there is one, else now. */
  wake(): Promise<void>;
  /** Changes what the worker polls. */
  watch(channels: readonly string[]): Promise<void>;
  /** Calls `listener` once another version of the app is ready; returns the function that stops it. */
  onUpdate(listener: () => void): () => void;
  /** Puts the version that waits in charge; resolves when it is. Reload the page then: its own files may be gone. */
  applyUpdate(): Promise<void>;
  /** Stops answering the worker. It stays registered. */
  close(): void;
}

/** The parts of a registration that not every browser has. */
interface Syncing {
  readonly sync?: { register(tag: string): Promise<void> };
  readonly periodicSync?: { register(tag: string, options: { minInterval: number }): Promise<void> };
}

/** Registers the service worker and sets it to work for a user. Resolves to null where the browser has none, or refuses. */
export async function registerServiceWorker(options: ServiceWorkerOptions): Promise<RegisteredWorker | null> {
  const container = globalThis.navigator?.serviceWorker;
  if (!container) return null;
  const report = (error: unknown) => options.onError?.(error instanceof Error ? error : new Error(String(error)));
  try {
    const { script, scope } = options;
    const registration = await container.register(script, scope === undefined ? {} : { scope });
    const worker = new Registered(container, registration, options, report);
    await worker.watch(options.channels).catch(report);
    return worker;
  } catch (error) {
    report(error);
    return null;
  }
}

class Registered implements RegisteredWorker {
  readonly registration: ServiceWorkerRegistration;
  readonly #container: ServiceWorkerContainer;
  readonly #options: ServiceWorkerOptions;
  readonly #report: (error: unknown) => void;

  constructor(
    container: ServiceWorkerContainer,
    registration: ServiceWorkerRegistration,
    options: ServiceWorkerOptions,
    report: (error: unknown) => void,
  ) {
    this.#container = container;
    this.registration = registration;
    this.#options = options;
    this.#report = report;
    container.addEventListener("message", this.#onMessage);
    // Refused where the user has not installed the app, which is nothing to report: the other wake-ups remain.
    const { periodicSync } = registration as Syncing;
    periodicSync?.register(POLL_SYNC, { minInterval: PERIOD_MS }).catch(() => {});
  }

  async status(): Promise<WorkerStatus | null> {
    return ask<WorkerStatus>(await this.#active(), { lanecast: "status" });
  }

  async wake(): Promise<void> {
    const active = await this.#active();
    const { sync } = this.registration as Syncing;
    try {
      if (!sync) throw new Error("no background sync");
      await Promise.all([sync.register(OUTBOX_SYNC), sync.register(POLL_SYNC)]);
    } catch {
      await ask(active, { lanecast: "wake" }, 60_000); // there is none, or the user does not allow it
    }
  }

  async watch(channels: readonly string[]): Promise<void> {
    const { user, url, pollUrl: given } = this.#options;
    const store = new OfflineStore({ user });
    try {
      await store.watch({ pollUrl: new URL(given ?? pollUrl(url), location.href).href, channels: [...channels] });
    } finally {
      await store.close();
    }
  }

  onUpdate(listener: () => void): () => void {
    const { registration } = this;
    // Without a worker in charge the one that is installed is the first, not another version.
    const check = (worker: ServiceWorker | null) => {
      if (worker?.state === "installed" && this.#container.controller) listener();
    };
    const found = () => {
      const { installing } = registration;
      installing?.addEventListener("statechange", () => check(installing));
    };
    registration.addEventListener("updatefound", found);
    check(registration.waiting);
    return () => registration.removeEventListener("updatefound", found);
  }

  async applyUpdate(): Promise<void> {
    const { waiting } = this.registration;
    if (!waiting) return;
    const changed = new Promise<void>((resolve) => {
      this.#container.addEventListener("controllerchange", () => resolve(), { once: true });
    });
    const request: WorkerRequest = { lanecast: "activate" };
    waiting.postMessage(request);
    await changed;
  }

  close(): void {
    this.#container.removeEventListener("message", this.#onMessage);
  }

  /** The worker in charge; waits for it where it is being installed. */
  async #active(): Promise<ServiceWorker> {
    const ready = this.registration.active ?? (await this.#container.ready).active;
    if (!ready) throw new Error("the service worker is not running");
    return ready;
  }

  readonly #onMessage = ({ data, ports }: MessageEvent<TokenRequest | null>): void => {
    const port = ports[0];
    if (data?.lanecast === "token" && port) void this.#answer(data.user, port);
  };

  async #answer(user: string, port: MessagePort): Promise<void> {
    const { user: mine, getToken } = this.#options;
    try {
      port.postMessage(user === mine ? await getToken() : null);
    } catch (error) {
      port.postMessage(null);
      this.#report(error);
    }
  }
}
