// Brings the pages to life: session, client, service worker and what the device keeps. The composition root below React.

import { type AiEvents, type Client, createClient, LanecastError } from "@lanecast/client";
import { OfflineStore, registerServiceWorker, requestPersistence } from "@lanecast/client/offline";
import { Store } from "@lanecast/shared/store";
import type { PageName } from "./router.ts";
import { fetchSession, rememberedSession, type Session } from "./session.ts";

export type Channels = Readonly<Record<PageName, string>>;

/** A client and the channels it is for. */
export interface Link {
  readonly client: Client<AiEvents>;
  readonly channels: Channels;
}

/** The session page gives every browser on its machine the same rights, so there is one user. */
const USER = "page";
const RETRY_MS = 2_000;
const WORKER = "/pages/sw.js";
const PREFIXES: Channels = { insights: "agent:", valuations: "analytics:", strategy: "strategy:", handoffs: "bots:" };
const DEFAULTS: Channels = {
  insights: "agent:42",
  valuations: "analytics:valuations",
  strategy: "strategy:recommendations",
  handoffs: "bots:handoffs",
};

/** The channel of each page: the first that the session allows of its kind. */
export function channelsOf(names: readonly string[]): Channels {
  const first = (page: PageName) =>
    names.find((name) => name.startsWith(PREFIXES[page]) && !name.includes("*")) ?? DEFAULTS[page];
  return {
    insights: first("insights"),
    valuations: first("valuations"),
    strategy: first("strategy"),
    handoffs: first("handoffs"),
  };
}

export class Runtime {
  readonly link = new Store<Link | null>(null);
  /** Why there is not even an address to connect to. */
  readonly problem = new Store<string | null>(null);
  /** False: this browser keeps nothing for a time without a network. */
  readonly keeps = new Store(true);
  /** Puts the version of the pages that waits in charge; null: there is none. */
  readonly update = new Store<(() => void) | null>(null);
  readonly #offline = new OfflineStore({ user: USER, onError: () => this.keeps.set(false) });
  #urls = "";

  start(): void {
    const known = rememberedSession();
    if (known) this.#open(known);
    else void this.#first();
  }

  /** Asks for a session until there is one. */
  async #first(): Promise<void> {
    try {
      this.#open(await fetchSession());
      this.problem.set(null);
    } catch (error) {
      const text = error instanceof LanecastError ? `${error.message}. ${error.remediation}` : null;
      this.problem.set(text ?? "The server of these pages does not answer. Check the network; they try again.");
      setTimeout(() => void this.#first(), RETRY_MS);
    }
  }

  #open(session: Session): void {
    this.#urls = session.gatewayUrls.join(" ");
    const client = createClient<AiEvents>({
      url: session.gatewayUrls,
      getToken: () => this.#token(),
      offline: this.#offline,
    });
    const asked = client.onState(({ status }) => {
      if (status !== "connected") return;
      asked();
      void requestPersistence();
    });
    const channels = channelsOf(session.channels);
    this.link.set({ client, channels });
    void this.#register(session.gatewayUrls[0] ?? "", channels);
  }

  async #token(): Promise<string> {
    const session = await fetchSession();
    if (session.gatewayUrls.join(" ") !== this.#urls) void startAnew();
    return session.token;
  }

  async #register(url: string, channels: Channels): Promise<void> {
    const getToken = async () => (await fetchSession()).token;
    const worker = await registerServiceWorker({
      script: WORKER,
      user: USER,
      url,
      channels: [channels.insights],
      getToken,
    });
    worker?.onUpdate(() => this.update.set(() => void worker.applyUpdate().then(() => location.reload())));
  }
}

/**
 * The gateways have moved since this page was made, and its own rules allow it to connect to the old ones only. So the
 * page is fetched again, past the service worker that keeps it.
 */
async function startAnew(): Promise<void> {
  await (await navigator.serviceWorker?.getRegistration(WORKER))?.unregister();
  location.reload();
}
