// What is known of the difference between this client's clock and the gateway's. Takes times; asks the environment for
// none, but to see whether a clock was set.
//
// No message arrives before it was sent. So each message from the gateway bounds the difference (client - server) from
// above, and each answer that the gateway has stamped bounds it from below. The best bound of each side is kept and
// widened with its age, since the clocks drift; the truth lies between the two. An exchange with the lowest round trip
// gives the same answer as NTP's filter does, and the best halves of two exchanges give a better one.

import type { Environment } from "./environment.ts";
import type { Micros, PingFrame } from "./frames.ts";

/** How far two ordinary clocks may drift apart, in microseconds per microsecond. */
const DRIFT = 50e-6;
/** A step between the two local clocks that means one was set, or the machine slept; microseconds. */
const STEP_MICROS = 50_000;

/** The estimated difference between two clocks, and how wrong it may be. */
export interface ClockEstimate {
  /** Add this to the server's time to get the client's; microseconds. */
  readonly offsetMicros: number;
  /** The true value is at most this far away; microseconds. */
  readonly uncertaintyMicros: number;
}

interface Bound {
  readonly value: number;
  readonly at: Micros;
}

export class ClockEstimator {
  readonly #resolution: number;
  #upper: Bound | null = null;
  #lower: Bound | null = null;
  #step: Micros | null = null;

  /** `resolution`: the grain of the client's clock, in microseconds. */
  constructor(resolution: number) {
    this.#resolution = resolution;
  }

  /** Forgets everything: the client's clock has jumped or stood still. */
  reset(): void {
    this.#upper = null;
    this.#lower = null;
  }

  /** Forgets the difference where one of the two local clocks has jumped. */
  watch({ now, wallClock }: Environment): void {
    const before = now();
    const wall = wallClock();
    // A process that was held between the two readings would look like a clock that was set.
    if (now() - before > STEP_MICROS / 10) return;
    const step = wall - before;
    if (this.#step !== null && Math.abs(step - this.#step) > STEP_MICROS) this.reset();
    this.#step = step;
  }

  /** Learns from a message the server sent at `serverSend` and the client has received at `clientReceive`. */
  received(serverSend: Micros, clientReceive: Micros): void {
    const value = clientReceive - serverSend;
    const lowest = this.#lowerAt(clientReceive);
    if (lowest !== null && value < lowest - this.#resolution) this.reset();
    const highest = this.#upperAt(clientReceive);
    if (highest === null || value <= highest) this.#upper = { value, at: clientReceive };
  }

  /** Learns from a message the client sent at `clientSend` and the server received at `serverReceive`. */
  answered(clientSend: Micros, serverReceive: Micros): void {
    const value = clientSend - serverReceive;
    const highest = this.#upperAt(clientSend);
    if (highest !== null && value > highest + this.#resolution) this.reset();
    const lowest = this.#lowerAt(clientSend);
    if (lowest === null || value >= lowest) this.#lower = { value, at: clientSend };
  }

  /** Learns from a ping received at `now`, and from the exchange before it that the ping reports. */
  ping(frame: PingFrame, now: Micros): void {
    if (frame.previousServerReceive > 0 && frame.previousClientSend > 0) {
      this.answered(frame.previousClientSend, frame.previousServerReceive);
    }
    this.received(frame.serverSend, now);
  }

  /** Returns the estimate at the client's time `now`; null until both directions were seen. */
  estimate(now: Micros): ClockEstimate | null {
    const highest = this.#upperAt(now);
    const lowest = this.#lowerAt(now);
    if (highest === null || lowest === null) return null;
    return {
      offsetMicros: (highest + lowest) / 2,
      uncertaintyMicros: Math.max(0, highest - lowest) / 2 + this.#resolution,
    };
  }

  #upperAt(now: Micros): number | null {
    return this.#upper && this.#upper.value + DRIFT * Math.abs(now - this.#upper.at);
  }

  #lowerAt(now: Micros): number | null {
    return this.#lower && this.#lower.value - DRIFT * Math.abs(now - this.#lower.at);
  }
}
