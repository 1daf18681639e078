// What the user has done while there was no network: requests that are sent later, in order, each exactly as it was made.
// Used by pages and by the service worker, which share the database; one of them sends at a time.

import { answer, committed, OUTBOX, openDatabase } from "./database.ts";

/** A request to be sent. The body is text, so that it can be kept and sent again as it is. */
export interface OutboxRequest {
  readonly url: string;
  /** Default: `POST`. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface Row extends OutboxRequest {
  readonly number?: number;
  readonly id: string;
}

export interface Flushed {
  readonly sent: number;
  /** Refused for good by the server, and dropped. */
  readonly refused: readonly { readonly id: string; readonly status: number }[];
  /** Still waiting. */
  readonly left: number;
}

export interface OutboxOptions {
  readonly user: string;
  /** Most requests that may wait. Default: 1,000. */
  readonly capacity?: number;
  readonly fetch?: typeof fetch;
  readonly indexedDB?: IDBFactory;
}

/** Name of the lock that lets one tab, or the service worker, send at a time; and the tag of its background sync. */
export const OUTBOX_SYNC = "lanecast-outbox";
const RETRIED_STATUS = new Set([408, 425, 429]);

export class Outbox {
  readonly #options: OutboxOptions;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /**
   * Keeps a request until it is sent. Returns its id, which goes along as `Idempotency-Key`: a request that arrived and
   * whose answer was lost is sent again. Rejects where too many wait.
   */
  async add(request: OutboxRequest): Promise<string> {
    const id = crypto.randomUUID();
    await this.#use("readwrite", async (rows) => {
      const capacity = this.#options.capacity ?? 1_000;
      if ((await answer(rows.count())) >= capacity) {
        throw new Error(`${capacity} requests wait to be sent already: go online before adding more`);
      }
      rows.add({ ...request, id });
    });
    return id;
  }

  /** How many requests wait. */
  async size(): Promise<number> {
    return this.#use("readonly", (rows) => answer(rows.count()));
  }

  /** Sends what waits, in order, until the network fails. */
  flush(): Promise<Flushed> {
    const locks = globalThis.navigator?.locks;
    return locks ? locks.request(OUTBOX_SYNC, () => this.#flush()) : this.#flush();
  }

  async #flush(): Promise<Flushed> {
    const rows = await this.#use("readonly", (store) => answer<Row[]>(store.getAll()));
    const refused: { id: string; status: number }[] = [];
    let done = 0;
    for (const row of rows) {
      const status = await this.#send(row);
      if (status === null) break;
      if (status >= 400) refused.push({ id: row.id, status });
      done += 1;
      await this.#use("readwrite", async (store) => void store.delete(row.number as number));
    }
    return { sent: done - refused.length, refused, left: rows.length - done };
  }

  /** Sends one request; null where it should be tried again later. */
  async #send({ url, method = "POST", headers, body, id }: Row): Promise<number | null> {
    try {
      const send = this.#options.fetch ?? fetch;
      const init = { method, headers: { ...headers, "Idempotency-Key": id }, ...(body === undefined ? {} : { body }) };
      const { status } = await send(url, init);
      return status >= 500 || RETRIED_STATUS.has(status) ? null : status;
    } catch {
      return null; // no network
    }
  }

  async #use<T>(mode: IDBTransactionMode, act: (rows: IDBObjectStore) => Promise<T>): Promise<T> {
    const factory = this.#options.indexedDB ?? globalThis.indexedDB;
    if (!factory) throw new Error("this browser keeps nothing: it has no IndexedDB");
    const database = await openDatabase(factory, this.#options.user);
    try {
      const transaction = database.transaction(OUTBOX, mode);
      const done = committed(transaction);
      // Whoever fails in `act` hears that, not the rollback it brings about.
      done.catch(() => {});
      const result = await act(transaction.objectStore(OUTBOX));
      await done;
      return result;
    } finally {
      database.close();
    }
  }
}
