// What the page's one status region says besides the connection: the newest thing that a person did or waits for.

import { Store } from "./store.ts";

export const announcement = new Store("");

export function announce(text: string): void {
  announcement.set(text);
}
