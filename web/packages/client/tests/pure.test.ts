// The parts that decide without any I/O: clock, grades, sampling, delays, the registry.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Backoff } from "../src/backoff.ts";
import { ClockEstimator } from "../src/clock.ts";
import { CODES, isRetryable } from "../src/codes.ts";
import { closeError } from "../src/errors.ts";
import type { ReceiptSample } from "../src/frames.ts";
import { grade } from "../src/latency.ts";
import { ReceiptSampler } from "../src/receipts.ts";
import { VERSION } from "../src/version.ts";

describe("the clock estimate", () => {
  test("needs both directions", () => {
    const clock = new ClockEstimator(0);
    clock.received(1_000_000, 1_000_400);
    expect(clock.estimate(1_000_400)).toBeNull();
    clock.answered(1_000_500, 1_000_900);
    expect(clock.estimate(1_000_500)?.offsetMicros).toBeCloseTo(0, 1);
  });

  test("holds the truth within its bound, however lopsided the way is", () => {
    const truth = 12_345;
    const clock = new ClockEstimator(0);
    for (const [out, back] of [
      [100, 9_000],
      [4_000, 300],
      [700, 700],
    ] as const) {
      // biome-ignore format: pairs
      clock.received(1_000_000, 1_000_000 + truth + out);
      clock.answered(1_000_000 + truth, 1_000_000 + back);
    }
    const estimate = clock.estimate(1_000_000 + truth);
    expect(Math.abs((estimate?.offsetMicros ?? 0) - truth)).toBeLessThanOrEqual(estimate?.uncertaintyMicros ?? 0);
    expect(estimate?.uncertaintyMicros, "the best half of each direction").toBeCloseTo(200, 0);
  });

  test("grows less certain with age", () => {
    const clock = new ClockEstimator(5);
    clock.received(0, 100);
    clock.answered(100, 200);
    expect(clock.estimate(100)?.uncertaintyMicros).toBeCloseTo(105, 6);
    expect(clock.estimate(10_000_100)?.uncertaintyMicros).toBeCloseTo(605, 6);
  });

  test("starts again where a clock was set", () => {
    const clock = new ClockEstimator(0);
    clock.received(1_000_000, 1_000_100);
    clock.answered(1_000_100, 1_000_200);
    clock.received(9_000_000, 1_000_300);
    expect(clock.estimate(1_000_300)).toBeNull();
    clock.answered(1_000_400, 9_000_200);
    expect(clock.estimate(1_000_400)?.offsetMicros).toBeCloseTo(-7_999_750, -2);
  });
});

test.each([
  [1, 0.1, "excellent"],
  [9.5, 1, "unknown"],
  [12, 1, "good"],
  [60, 5, "warning"],
  [150, 20, "critical"],
  [99, 2, "unknown"],
] as const)("%d ms ± %d is %s", (oneWay, uncertainty, expected) => {
  expect(grade(oneWay, uncertainty)).toBe(expected);
});

test("receipts are a uniform sample per lane", () => {
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const sampler = new ReceiptSampler(4, random);
  const hits = new Array<number>(20).fill(0);
  for (let round = 0; round < 2_000; round++) {
    for (let offset = 0; offset < 20; offset++) sampler.add({ lane: "LOW", offset: BigInt(offset) } as ReceiptSample);
    sampler.add({ lane: "CRITICAL", offset: 99n } as ReceiptSample);
    const taken = sampler.take();
    expect(taken).toHaveLength(5);
    for (const { lane, offset } of taken) if (lane === "LOW") hits[Number(offset)] = (hits[Number(offset)] ?? 0) + 1;
  }
  for (const count of hits) expect(Math.abs(count - 400)).toBeLessThan(80);
  expect(sampler.take()).toEqual([]);
});

test("delays stay between the lower end and the growing upper end", () => {
  const least = new Backoff({ minMs: 100, maxMs: 700 }, () => 0);
  const most = new Backoff({ minMs: 100, maxMs: 700 }, () => 1);
  expect([1, 2, 3, 4].map(() => least.next())).toEqual([100, 100, 100, 100]);
  expect([1, 2, 3, 4].map(() => most.next())).toEqual([200, 400, 700, 700]);
});

test("every code of the registry carries its retry rule in its range and advice for people", () => {
  for (const [number, { reason, advice }] of Object.entries(CODES)) {
    const error = closeError(Number(number), "");
    expect(error).toMatchObject({ code: reason, remediation: advice, retryable: isRetryable(Number(number)) });
  }
  expect(closeError(1006, "")).toMatchObject({ code: "CONNECTION_LOST", retryable: true });
  expect(isRetryable(1008)).toBe(false);
});

test("the version is the package's", () => {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  expect(VERSION).toBe(manifest.version);
});
