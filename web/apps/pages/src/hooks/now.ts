// What time it is, once a second, for ages and countdowns. One timer serves all components; none runs while nobody looks.

import { useSyncExternalStore } from "react";

const TICK_MS = 1_000;
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const call of [...listeners]) call();
  }, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** Milliseconds since the Unix epoch by this device's clock. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
