// Brings the page to life: session, client, subscriptions, metrics. The composition root below React.

import {
  type AiEvents,
  type Client,
  type ConnectionState,
  createClient,
  LANES,
  type Subscription,
} from "@lanecast/client";
import { Store } from "@lanecast/shared/store";
import { Operations } from "./data/operations.ts";
import { Feed } from "./feed.ts";
import { Metrics } from "./metrics.ts";
import { fetchSession, type Session } from "./session.ts";

/** Events of each channel and lane to begin with, so that the page is not empty when it opens. */
const HISTORY = 20;
const RETRY_MS = 2_000;

export interface ClockReading {
  readonly uncertaintyMs: number;
}

export interface ChannelContinuity {
  readonly channel: string;
  readonly delivered: number;
  readonly duplicates: number;
  readonly gaps: number;
  readonly holes: number;
  readonly resumes: number;
}

export class Live {
  readonly feed = new Feed();
  readonly metrics = new Metrics();
  readonly operations = new Operations();
  /** What became of each subscription: nothing lost, nothing twice. Recomputed once a second. */
  readonly continuity = new Store<readonly ChannelContinuity[]>([]);
  readonly #subscriptions = new Map<string, Subscription>();
  readonly connection = new Store<ConnectionState>({ status: "connecting", error: null, retryAt: null, session: null });
  readonly clock = new Store<ClockReading | null>(null);
  /** Why there is not even an address to connect to. */
  readonly problem = new Store<string | null>(null);
  #client: Client<AiEvents> | null = null;

  start(): void {
    this.metrics.start(this.operations);
    void this.#load();
    void this.#connect();
    setInterval(() => this.#tick(), 1_000);
  }

  /** Asks until it is there; the stream brings what changes afterwards. */
  async #load(): Promise<void> {
    try {
      await this.operations.load();
    } catch {
      setTimeout(() => void this.#load(), RETRY_MS); // the top bar says that the service does not answer
    }
  }

  async #connect(): Promise<void> {
    try {
      this.#open(await fetchSession());
      this.problem.set(null);
    } catch (error) {
      this.problem.set(error instanceof Error ? error.message : String(error));
      setTimeout(() => void this.#connect(), RETRY_MS);
    }
  }

  #open(session: Session): void {
    // The first token is at hand; later ones are asked for as they are needed.
    let first: string | null = session.token;
    const client = createClient<AiEvents>({
      url: session.gatewayUrls,
      getToken: async () => {
        const token = first ?? (await fetchSession()).token;
        first = null;
        return token;
      },
    });
    this.#client = client;
    client.onState((state) => this.connection.set(state));
    for (const name of session.channels.filter((channel) => !channel.includes("*"))) {
      const subscription = client.channel(name).subscribe((event) => this.feed.add(event), {
        since: { last: HISTORY },
        lanes: LANES,
        onError: (error) => this.problem.set(`${name}: ${error.message}`),
      });
      this.#subscriptions.set(name, subscription);
    }
  }

  #tick(): void {
    this.feed.measure();
    const estimate = this.#client?.clock;
    this.continuity.set(
      [...this.#subscriptions].map(([channel, subscription]) => {
        const { delivered, duplicates, gaps, holes, resumes } = subscription.continuity();
        return { channel, delivered, duplicates, gaps, holes, resumes };
      }),
    );
    this.clock.set(estimate ? { uncertaintyMs: estimate.uncertaintyMicros / 1_000 } : null);
  }
}
