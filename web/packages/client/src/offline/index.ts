// The public API of @lanecast/client/offline.

export { type Capabilities, capabilities, requestPersistence } from "./capabilities.ts";
export type { WorkerPoll, WorkerStatus } from "./messages.ts";
export { type Flushed, OUTBOX_SYNC, Outbox, type OutboxOptions, type OutboxRequest } from "./outbox.ts";
export {
  type RegisteredWorker,
  registerServiceWorker,
  type ServiceWorkerOptions,
} from "./registration.ts";
export { type OfflineOptions, OfflineStore, type Watch } from "./store.ts";
