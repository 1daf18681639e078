// Something that is asked for again and again while it is looked at: its newest answer, and how far to trust it.

import { Store } from "@lanecast/shared/store";
import { useEffect, useSyncExternalStore } from "react";
import { explain } from "./api.ts";

export interface Answer<T> {
  /** The newest answer; null before the first. */
  readonly data: T | null;
  /** Why the last try failed; null where it did not. */
  readonly problem: string | null;
  /** When `data` was received, in milliseconds since the Unix epoch. */
  readonly at: number;
}

export class Resource<T> {
  readonly answer = new Store<Answer<T>>({ data: null, problem: null, at: 0 });
  readonly #ask: (signal: AbortSignal) => Promise<T>;
  readonly #everyMs: number;
  #users = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | null = null;

  constructor(ask: (signal: AbortSignal) => Promise<T>, everyMs: number) {
    this.#ask = ask;
    this.#everyMs = everyMs;
  }

  /** Asks while anybody looks; returns how to stop. */
  readonly use = (): (() => void) => {
    this.#users += 1;
    if (this.#users === 1) void this.refresh();
    return () => {
      this.#users -= 1;
      if (this.#users > 0) return;
      clearTimeout(this.#timer);
      this.#asking?.abort();
      this.#asking = null;
    };
  };

  /** Asks now. */
  async refresh(): Promise<void> {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const data = await this.#ask(asking.signal);
      if (!asking.signal.aborted) this.answer.set({ data, problem: null, at: Date.now() });
    } catch (error) {
      if (!asking.signal.aborted) this.answer.set({ ...this.answer.get(), problem: explain(error) });
    }
    if (asking.signal.aborted) return;
    this.#asking = null;
    if (this.#users > 0) this.#timer = setTimeout(() => void this.#again(), this.#everyMs);
  }

  async #again(): Promise<void> {
    // What nobody sees need not be asked for.
    if (document.visibilityState === "hidden") this.#timer = setTimeout(() => void this.#again(), this.#everyMs);
    else await this.refresh();
  }
}

/** Reads a resource and keeps it fresh while the component is there. */
export function useResource<T>(resource: Resource<T>): Answer<T> {
  useEffect(() => resource.use(), [resource]);
  return useSyncExternalStore(resource.answer.subscribe, resource.answer.get);
}
