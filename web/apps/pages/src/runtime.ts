// Brings the pages to life: session, client and what the device keeps. The composition root below React.

import { type AiEvents, type Client, createClient, LanecastError } from "@lanecast/client";
import { OfflineStore, requestPersistence } from "@lanecast/client/offline";
import type { PageName } from "./router.ts";
import { fetchSession, rememberedSession, type Session } from "./session.ts";
import { Store } from "./store.ts";

export type Channels = Readonly<Record<PageName, string>>;

/** A client and the channels it is for. */
export interface Link {
  readonly client: Client<AiEvents>;
  readonly channels: Channels;
}

/** The session page gives every browser on its machine the same rights, so there is one user. */
const USER = "page";
const RETRY_MS = 2_000;
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
    this.link.get()?.client.close();
    this.link.set({ client, channels: channelsOf(session.channels) });
  }

  async #token(): Promise<string> {
    const session = await fetchSession();
    // The gateways have moved since this device was here last.
    if (session.gatewayUrls.join(" ") !== this.#urls) queueMicrotask(() => this.#open(session));
    return session.token;
  }
}
