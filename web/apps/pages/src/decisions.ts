// What the agent has done with each insight: acted on it or dismissed it. Kept on this device, newest last and bounded;
// there is no service yet that takes decisions, and the page says so.

import { Store } from "@lanecast/shared/store";

export type Decision = "acted" | "dismissed";

export interface Decided {
  readonly decision: Decision;
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
}

export type DecisionsById = Readonly<Record<string, Decided>>;

const KEY = "lanecast.pages.decisions";
const KEPT = 500;

export class Decisions {
  readonly all: Store<DecisionsById>;
  readonly #storage: Storage | null;

  constructor(storage: Storage | null) {
    this.#storage = storage;
    this.all = new Store(read(storage));
  }

  decide(id: string, decision: Decision, at = Date.now()): void {
    const { [id]: _earlier, ...others } = this.all.get();
    this.#set({ ...others, [id]: { decision, at } });
  }

  undo(id: string): void {
    const { [id]: _undone, ...others } = this.all.get();
    this.#set(others);
  }

  #set(decisions: DecisionsById): void {
    const kept = Object.fromEntries(Object.entries(decisions).slice(-KEPT));
    this.all.set(kept);
    try {
      this.#storage?.setItem(KEY, JSON.stringify(kept));
    } catch {
      // A full or forbidden storage: the decision holds until the page is closed.
    }
  }
}

function read(storage: Storage | null): DecisionsById {
  try {
    const kept: unknown = JSON.parse(storage?.getItem(KEY) ?? "{}");
    return kept !== null && typeof kept === "object" && !Array.isArray(kept) ? (kept as DecisionsById) : {};
  } catch {
    return {};
  }
}

/** The storage of this browser; null where it is forbidden. */
export function browserStorage(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
