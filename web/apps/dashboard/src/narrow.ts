// Whether the page is as narrow as a phone, where four columns cannot stand side by side.

import { useSyncExternalStore } from "react";

const query = matchMedia("(max-width: 899px)");

function subscribe(listener: () => void): () => void {
  query.addEventListener("change", listener);
  return () => query.removeEventListener("change", listener);
}

export function useNarrow(): boolean {
  return useSyncExternalStore(subscribe, () => query.matches);
}
