// What the page's one status region says besides the connection: the newest thing that a person did or waits for.

import { Store } from "@lanecast/shared/store";

export const announcement = new Store("");

export function announce(text: string): void {
  announcement.set(text);
}
