// Which view is open: a word in the address after `#/`, so that it can be linked, and the browser's Back goes back.

import { useSyncExternalStore } from "react";

export const VIEWS = [
  { id: "live", label: "Live" },
  { id: "health", label: "Health" },
  { id: "rollouts", label: "Rollouts" },
  { id: "alerts", label: "Alerts" },
  { id: "tests", label: "Tests & reports" },
] as const;
export type ViewId = (typeof VIEWS)[number]["id"];

export interface Route {
  readonly view: ViewId;
  /** What of it, for example the id of a rollout; empty for none. */
  readonly item: string;
}

let text: string | null = null;
let route: Route = { view: "live", item: "" };

/** Reads an address; anything unknown is the first view. */
export function parse(hash: string): Route {
  const [word = "", item = ""] = hash.replace(/^#\/?/, "").split("/", 2);
  const view = VIEWS.find(({ id }) => id === word)?.id ?? "live";
  return { view, item: view === word ? decode(item) : "" };
}

export function address(view: ViewId, item = ""): string {
  return item === "" ? `#/${view}` : `#/${view}/${encodeURIComponent(item)}`;
}

export function go(view: ViewId, item = ""): void {
  location.hash = address(view, item);
}

function decode(item: string): string {
  try {
    return decodeURIComponent(item);
  } catch {
    return "";
  }
}

function subscribe(listener: () => void): () => void {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

function current(): Route {
  if (location.hash !== text) {
    text = location.hash;
    route = parse(text);
  }
  return route;
}

export function useRoute(): Route {
  return useSyncExternalStore(subscribe, current);
}
