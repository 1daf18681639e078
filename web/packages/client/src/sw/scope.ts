// The part of a service worker's surroundings that is used here. The compiler's own types for it exclude those of pages.

export interface Lasting {
  waitUntil(work: Promise<unknown>): void;
}

export interface FetchEvent extends Lasting {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

export interface SyncEvent extends Lasting {
  readonly tag: string;
}

export interface MessageFromPage extends Lasting {
  readonly data: unknown;
  readonly ports: readonly MessagePort[];
}

export interface WorkerEvents {
  install: Lasting;
  activate: Lasting;
  fetch: FetchEvent;
  message: MessageFromPage;
  push: Lasting;
  sync: SyncEvent;
  periodicsync: SyncEvent;
}

export interface OpenPage {
  postMessage(message: unknown, transfer: Transferable[]): void;
}

export interface WorkerScope {
  readonly caches: CacheStorage;
  readonly indexedDB: IDBFactory;
  readonly location: { readonly href: string };
  readonly registration: { readonly scope: string };
  readonly clients: {
    matchAll(options: { type: "window" }): Promise<readonly OpenPage[]>;
    claim(): Promise<void>;
  };
  readonly fetch: typeof fetch;
  skipWaiting(): Promise<void>;
  addEventListener<K extends keyof WorkerEvents>(type: K, listener: (event: WorkerEvents[K]) => void): void;
}
