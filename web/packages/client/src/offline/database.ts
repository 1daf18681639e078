// IndexedDB as promises, and the one schema of what is kept on a device. Knows nothing of events; used by the store and
// the outbox.

/** How long the database may take to open; some browsers never answer after a crash. */
const OPEN_MS = 3_000;
const VERSION = 2;
const PREFIX = "lanecast:";

export const EVENTS = "events";
export const CURSORS = "cursors";
export const OUTBOX = "outbox";
/** What the service worker does for this user. */
export const SETTINGS = "settings";
/** Index of the events by urgency, then age: the order of eviction. */
export const BY_RANK = "by-rank";
export const BY_CHANNEL = "by-channel";

/** The name of the database of one user. */
export function databaseName(user: string): string {
  return PREFIX + user;
}

/** Opens the database of a user, and makes its tables the first time. */
export function openDatabase(factory: IDBFactory, user: string): Promise<IDBDatabase> {
  const request = factory.open(databaseName(user), VERSION);
  request.onupgradeneeded = ({ oldVersion }) => createTables(request.result, oldVersion);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the database did not open in time")), OPEN_MS);
    request.onblocked = () => reject(new Error("an older version of this page holds the database open"));
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      clearTimeout(timer);
      const database = request.result;
      // Another tab wants to delete or upgrade it: holding on would block that tab for ever.
      database.onversionchange = () => database.close();
      resolve(database);
    };
  });
}

/** Deletes everything that is kept for a user. Tabs that have it open are asked to let go. */
export async function deleteDatabase(factory: IDBFactory, user: string): Promise<void> {
  await answer(factory.deleteDatabase(databaseName(user)));
}

/** The users of whom something is kept; empty where the browser does not tell. */
export async function knownUsers(factory: IDBFactory): Promise<string[]> {
  if (typeof factory.databases !== "function") return [];
  const names = (await factory.databases()).map(({ name }) => name ?? "");
  return names.filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));
}

/** Resolves with what a request brings. */
export function answer<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Resolves once a transaction is committed. */
export function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
  });
}

function createTables(database: IDBDatabase, oldVersion: number): void {
  database.createObjectStore(SETTINGS, { keyPath: "name" });
  if (oldVersion === 1) return;
  const events = database.createObjectStore(EVENTS, { keyPath: "key" });
  events.createIndex(BY_RANK, ["rank", "at"]);
  events.createIndex(BY_CHANNEL, "channel");
  database.createObjectStore(CURSORS, { keyPath: ["channel", "lane"] });
  database.createObjectStore(OUTBOX, { keyPath: "number", autoIncrement: true });
}
