// The page under test: the SDK and nothing else, with handles for whoever drives the browser. It is built and served by
// the driver, and is part of no package.

import { type AiEvents, type Client, createClient, type Gap, type Lane, type Latency } from "@lanecast/client";
import { OfflineStore, type RegisteredWorker, registerServiceWorker } from "@lanecast/client/offline";
import { LanecastProvider, useChannel, useConnection } from "@lanecast/client/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

/** What a test starts the page with. Kept for the time after a reload, when there may be no network to ask. */
interface Setup {
  readonly url: string;
  readonly channels: readonly string[];
  readonly lanes?: readonly Lane[];
  readonly since?: "latest" | "earliest";
  readonly codec?: "json" | "protobuf";
  readonly offline?: boolean;
  readonly worker?: boolean;
  readonly strict?: boolean;
}

interface Seen {
  readonly channel: string;
  readonly lane: Lane;
  readonly epoch: string;
  readonly offset: string;
  readonly delivery: string;
  readonly latency: Latency | null;
}

const USER = "agent-7";
const KEY = "setup";

class Harness {
  client: Client<AiEvents> | null = null;
  worker: RegisteredWorker | null = null;
  readonly seen: Seen[] = [];
  readonly gaps: string[] = [];
  readonly states: string[] = [];
  readonly errors: string[] = [];
  /** Each time the page was shown: whether as it was left. */
  readonly shown: boolean[] = [];
  #subscriptions = new Map<string, ReturnType<ReturnType<Client<AiEvents>["channel"]>["subscribe"]>>();

  async start(setup: Setup): Promise<void> {
    localStorage.setItem(KEY, JSON.stringify(setup));
    const onError = (error: Error) => this.errors.push(error.message);
    const offline = setup.offline ? new OfflineStore({ user: USER, onError }) : undefined;
    const client = createClient<AiEvents>({
      url: setup.url,
      getToken,
      codec: setup.codec ?? "protobuf",
      backoff: { minMs: 100, maxMs: 400 },
      ...(offline ? { offline } : {}),
    });
    this.client = client;
    client.onState(({ status }) => this.states.push(status));
    if (setup.strict) this.#render(client, setup);
    else for (const channel of setup.channels) this.#subscribe(client, channel, setup);
    if (!setup.worker) return;
    const { url, channels } = setup;
    this.worker = await registerServiceWorker({ script: "sw.js", user: USER, url, channels, getToken, onError });
    await navigator.serviceWorker.ready;
  }

  /** Starts with what the page was started with before it was reloaded. */
  restart(): Promise<void> {
    return this.start(JSON.parse(localStorage.getItem(KEY) ?? "null"));
  }

  continuity(channel: string) {
    const { positions, ...counts } = this.#subscriptions.get(channel)?.continuity() ?? { positions: [] };
    return { ...counts, positions: positions.map((position) => ({ ...position, offset: `${position.offset}` })) };
  }

  ready(channel: string): Promise<void> | undefined {
    return this.#subscriptions.get(channel)?.ready();
  }

  #subscribe(client: Client<AiEvents>, channel: string, { lanes, since = "latest" }: Setup): void {
    const subscription = client.channel(channel).subscribe(
      ({ lane, epoch, offset, delivery, latency }) => {
        this.seen.push({ channel, lane, epoch, offset: `${offset}`, delivery, latency });
      },
      {
        since,
        ...(lanes ? { lanes } : {}),
        onGap: ({ reason }: Gap) => this.gaps.push(reason),
        onError: ({ code }) => this.errors.push(code),
      },
    );
    this.#subscriptions.set(channel, subscription);
  }

  #render(client: Client<AiEvents>, { channels }: Setup): void {
    const root = createRoot(document.getElementById("root") as HTMLElement);
    root.render(
      <StrictMode>
        <LanecastProvider client={client}>
          <Connection />
          {channels.map((channel) => (
            <Offsets key={channel} channel={channel} />
          ))}
        </LanecastProvider>
      </StrictMode>,
    );
  }
}

function Connection() {
  return <p id="status">{useConnection().status}</p>;
}

function Offsets({ channel }: { channel: string }) {
  const { events, ready } = useChannel<AiEvents>(channel);
  return (
    <p className="offsets" data-ready={ready}>
      {events.map(({ offset }) => `${offset}`).join(" ")}
    </p>
  );
}

async function getToken(): Promise<string> {
  const response = await fetch("/token", { cache: "no-store" });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return response.text();
}

const harness = new Harness();
addEventListener("pageshow", ({ persisted }) => harness.shown.push(persisted));
Object.assign(globalThis, { harness });
