// Delays between attempts to reconnect. Pure; the caller brings the randomness and does the waiting.

export interface BackoffOptions {
  /** Lower end of every delay and unit of the upper one, in milliseconds. Default: 2,000. */
  readonly minMs?: number;
  /** Upper end that delays grow to, in milliseconds. Default: 15,000. */
  readonly maxMs?: number;
}

/**
 * Uniform in [min, min(max, min * 2 ** (n + 1))]. The first delay is spread too: after an outage all clients fail in the
 * same moment, and without that they would all come back in the same moment.
 */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor(options: BackoffOptions, random: () => number) {
    this.#minMs = options.minMs ?? 2_000;
    this.#maxMs = Math.max(this.#minMs, options.maxMs ?? 15_000);
    this.#random = random;
  }

  /** Number of delays handed out since the last reset. */
  get attempt(): number {
    return this.#attempt;
  }

  /** Returns the milliseconds to wait before the next attempt. */
  next(): number {
    const ceiling = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.#attempt + 1, 30));
    this.#attempt += 1;
    return this.#minMs + this.#random() * (ceiling - this.#minMs);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
