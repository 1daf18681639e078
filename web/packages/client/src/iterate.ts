// Turns a subscription into an async iterator with a bounded queue.

import { LanecastError } from "./errors.ts";
import type { Subscription } from "./types.ts";

const DEFAULT_CAPACITY = 1_024;

interface Waiter<E> {
  resolve(result: IteratorResult<E>): void;
  reject(error: unknown): void;
}

/**
 * Returns an iterator over what `subscribe` delivers. The loop must keep up: with `capacity` events waiting, the next one
 * ends it with `SLOW_READER`, since dropping would be a hole that nobody announced.
 */
export function iterate<E>(
  subscribe: (listener: (event: E) => void, fail: (error: LanecastError) => void) => Subscription,
  channel: string,
  capacity: number = DEFAULT_CAPACITY,
): AsyncIterableIterator<E> {
  const queue: E[] = [];
  const waiters: Waiter<E>[] = [];
  let error: LanecastError | null = null;
  let ended = false;

  const finish = (reason: LanecastError | null) => {
    if (ended) return;
    ended = true;
    error = reason;
    subscription.unsubscribe();
    for (const waiter of waiters.splice(0)) {
      if (reason) waiter.reject(reason);
      else waiter.resolve({ done: true, value: undefined });
    }
  };

  const subscription = subscribe(
    (event) => {
      const waiter = waiters.shift();
      if (waiter) waiter.resolve({ done: false, value: event });
      else if (queue.length < capacity) queue.push(event);
      else finish(slowReader(channel, capacity));
    },
    (reason) => finish(reason),
  );

  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      const event = queue.shift();
      if (event !== undefined) return Promise.resolve({ done: false, value: event });
      if (error) return Promise.reject(error);
      if (ended) return Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve, reject) => waiters.push({ resolve, reject }));
    },
    return() {
      finish(null);
      queue.length = 0;
      return Promise.resolve({ done: true, value: undefined });
    },
  };
}

function slowReader(channel: string, capacity: number): LanecastError {
  return new LanecastError("SLOW_READER", `${capacity} events of ${channel} waited for the loop that reads them`, {
    retryable: true,
    remediation: "Do less per event, raise `capacity`, or subscribe with a listener; then resume by position.",
    channel,
  });
}
