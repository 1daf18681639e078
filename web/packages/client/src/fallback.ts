// Decides when channels are polled: once connecting has failed several times in a row, and until it works. The polls
// themselves are in `poller.ts`, which is loaded when it is first needed. Owned by the client.

import type { Connector } from "./connector.ts";
import type { Environment } from "./environment.ts";
import type { ServerFrame } from "./frames.ts";
import type { Hub } from "./hub.ts";
import type { Poller } from "./poller.ts";
import type { ClientOptions } from "./types.ts";
import { pollUrl } from "./url.ts";

const DEFAULT_FAILURES = 3;

export class Fallback {
  readonly #options: ClientOptions;
  readonly #environment: Environment;
  readonly #connector: Connector;
  readonly #hubs: ReadonlyMap<string, Hub>;
  readonly #take: (frame: ServerFrame) => void;
  #poller: Poller | null = null;
  /** True from the failure that begins it to the connection that ends it. */
  #wanted = false;

  constructor(
    options: ClientOptions,
    environment: Environment,
    connector: Connector,
    hubs: ReadonlyMap<string, Hub>,
    take: (frame: ServerFrame) => void,
  ) {
    this.#options = options;
    this.#environment = environment;
    this.#connector = connector;
    this.#hubs = hubs;
    this.#take = take;
  }

  /** Notes a failed attempt to connect. */
  retrying(failures: number): void {
    const { polling = {} } = this.#options;
    if (polling === false || this.#wanted || failures < (polling.afterFailures ?? DEFAULT_FAILURES)) return;
    this.#wanted = true;
    void this.#start(polling.url ?? pollUrl(this.#connector.url));
  }

  /** What is subscribed has changed, or it is worth trying again at once. */
  changed(): void {
    this.#poller?.restart();
  }

  /** Ends all polls: what they would still bring comes by the connection. */
  stop(): void {
    this.#wanted = false;
    this.#poller?.stop();
    this.#poller = null;
  }

  async #start(url: string): Promise<void> {
    try {
      const { Poller } = await import("./poller.ts");
      if (!this.#wanted || this.#poller) return;
      const connector = this.#connector;
      this.#poller = new Poller(url, this.#environment, this.#options.backoff ?? {}, {
        channels: () => [...this.#hubs.values()].flatMap((hub) => hub.toPoll() ?? []),
        token: () => connector.getToken(),
        take: this.#take,
        works: (works) => connector.polling(works),
        failed: (error) => connector.lost(error),
      });
      this.#poller.restart();
    } catch {
      this.#wanted = false; // the module could not be loaded, as without a network: the next failure tries again
    }
  }
}
