// Which of the four pages is shown: the last part of the address. Links are real links, so that they can be opened in a
// new tab; a plain click changes the page without loading it again.

import { Store } from "@lanecast/shared/store";
import type { MouseEvent } from "react";

export const PAGES = ["insights", "valuations", "strategy", "handoffs"] as const;
export type PageName = (typeof PAGES)[number];

export const BASE = "/pages/";

export const place = new Store<PageName>(pageOf(location.pathname));
addEventListener("popstate", () => place.set(pageOf(location.pathname)));

/** The page an address names; the first one where it names none. */
export function pageOf(path: string): PageName {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return PAGES.find((page) => page === name) ?? "insights";
}

export function hrefOf(page: PageName): string {
  return BASE + page;
}

/** Takes a click on a link to one of the pages, unless it asks for a new tab or window. */
export function follow(event: MouseEvent, page: PageName): void {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (place.get() === page) return;
  history.pushState(null, "", hrefOf(page));
  scrollTo(0, 0);
  place.set(page);
}
