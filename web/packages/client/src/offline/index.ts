// The public API of @lanecast/client/offline.

export { type Capabilities, capabilities, requestPersistence } from "./capabilities.ts";
export { type Flushed, OUTBOX_SYNC, Outbox, type OutboxOptions, type OutboxRequest } from "./outbox.ts";
export { type OfflineOptions, OfflineStore } from "./store.ts";
