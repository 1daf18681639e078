// The app's own files: kept when the worker is installed, answered from there, deleted with the version they belong to.

import type { WorkerScope } from "./scope.ts";

export interface ShellOptions {
  /** Addresses of all files of the app, relative to the worker's script. The first one answers navigations. */
  readonly shell: readonly string[];
  /** Names the content: another content must have another version. */
  readonly version: string;
  /** Says which navigations within the scope belong to the app; the others go to the network. Default: all. */
  readonly navigations?: (url: URL) => boolean;
}

const PREFIX = "lanecast-shell";

export class Shell {
  readonly #scope: WorkerScope;
  readonly #options: ShellOptions;
  readonly #addresses: ReadonlySet<string>;
  readonly #start: string;

  constructor(scope: WorkerScope, options: ShellOptions) {
    this.#scope = scope;
    this.#options = options;
    const addresses = options.shell.map((address) => new URL(address, scope.location.href).href);
    const start = addresses[0];
    if (start === undefined) throw new TypeError("`shell` is empty: name at least the page itself");
    this.#addresses = new Set(addresses);
    this.#start = start;
  }

  /** Fetches everything, or fails: a shell with holes would be found out without a network. */
  async install(): Promise<void> {
    const cache = await this.#scope.caches.open(this.#name);
    await Promise.all([...this.#addresses].map(async (address) => cache.put(address, await this.#load(address))));
  }

  /** Deletes what earlier versions have kept. */
  async activate(): Promise<void> {
    const { caches } = this.#scope;
    const old = (await caches.keys()).filter((name) => name.startsWith(this.#family) && name !== this.#name);
    await Promise.all(old.map((name) => caches.delete(name)));
  }

  /** What answers a request; null: it is none of the app's own. */
  answer(request: Request): Promise<Response> | null {
    const address = this.#addressOf(request);
    return address === null ? null : this.#read(address, request);
  }

  #addressOf(request: Request): string | null {
    if (request.method !== "GET") return null;
    const url = new URL(request.url);
    url.hash = "";
    const exact = this.#addresses.has(url.href) ? url.href : null;
    if (request.mode !== "navigate" || exact) return exact;
    url.search = "";
    if (this.#addresses.has(url.href)) return url.href;
    return (this.#options.navigations?.(url) ?? true) ? this.#start : null;
  }

  async #read(address: string, request: Request): Promise<Response> {
    const cache = await this.#scope.caches.open(this.#name);
    // The browser may have cleared the cache to make room.
    return (await cache.match(address)) ?? this.#scope.fetch(request);
  }

  async #load(address: string): Promise<Response> {
    const response = await this.#scope.fetch(address, { cache: "no-cache", credentials: "same-origin" });
    if (!response.ok) throw new Error(`${address} of the app's shell: the server answered ${response.status}`);
    if (!response.redirected) return response;
    // A response that was redirected may not answer a navigation.
    const { status, statusText, headers } = response;
    return new Response(await response.blob(), { status, statusText, headers });
  }

  /** Of all versions of this worker, and of no other worker of the site. */
  get #family(): string {
    return `${PREFIX}:${this.#scope.registration.scope}:`;
  }

  get #name(): string {
    return this.#family + this.#options.version;
  }
}
