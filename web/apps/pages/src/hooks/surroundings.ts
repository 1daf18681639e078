// What the browser says about itself: network, motion, width.

import { useSyncExternalStore } from "react";

/** False where the browser is sure that there is no network; true says little. */
export function useOnline(): boolean {
  return useSyncExternalStore(subscribeNetwork, () => navigator.onLine);
}

function subscribeNetwork(listener: () => void): () => void {
  addEventListener("online", listener);
  addEventListener("offline", listener);
  return () => {
    removeEventListener("online", listener);
    removeEventListener("offline", listener);
  };
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** True where the reader wants nothing to move. */
export function useReducedMotion(): boolean {
  return useSyncExternalStore(
    (listener) => {
      calm.addEventListener("change", listener);
      return () => calm.removeEventListener("change", listener);
    },
    () => calm.matches,
  );
}
