// Who is at this page, and whether the service lets them change anything.

import { Store } from "@lanecast/shared/store";
import { ApiError } from "./data/api.ts";

export interface Access {
  /** `unknown` until the service has answered a request that it answers only to operators. */
  readonly role: "unknown" | "operator" | "reader";
  /** Why not, in the service's words. */
  readonly why: string;
}

export const access = new Store<Access>({ role: "unknown", why: "" });

const KEY = "lanecast.actor";

/** Notes what the answer to a change says about the role. Returns the error, to be thrown on. */
export function noteRefusal(error: unknown): unknown {
  if (error instanceof ApiError && error.status === 403) access.set({ role: "reader", why: error.message });
  return error;
}

export function noteAllowed(): void {
  if (access.get().role !== "operator") access.set({ role: "operator", why: "" });
}

/** The name under which this person's changes are recorded; kept in this browser. */
export function actor(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function keepActor(name: string): void {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // A browser that stores nothing asks again the next time.
  }
}
