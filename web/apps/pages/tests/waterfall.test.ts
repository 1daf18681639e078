// The waterfall adds up at every moment of its build-up, whatever the explanation.

import { describe, expect, test } from "vitest";
import { buildUp, isDue, layOut, scale, type Waterfall } from "../src/logic/waterfall.ts";

/** A small generator of chance that a seed makes repeatable (mulberry32). */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Explanations of all kinds: none to thirty features, huge and tiny, some not listed, ProtoJSON's left-out zeros. */
function explanation(seed: number) {
  const next = chance(seed);
  const size = 10 ** (next() * 12 - 6);
  const count = Math.floor(next() * 31);
  const contributions = Array.from({ length: count }, (_, index) => ({
    feature: `feature ${index}`,
    ...(next() < 0.1 ? {} : { contribution: (next() - 0.5) * size }),
  }));
  const baseValue = next() < 0.2 ? 0 : (next() - 0.5) * size * 10;
  const remaining = next() < 0.3 ? (next() - 0.5) * size : 0;
  const listed = contributions.reduce((sum, { contribution = 0 }) => sum + contribution, 0);
  return {
    ...(baseValue === 0 ? {} : { baseValue }),
    prediction: baseValue + listed + remaining,
    contributions,
    ...(remaining === 0 ? {} : { remainingContribution: remaining }),
    tolerance: size * 1e-9,
  };
}

function plan(seed: number): Waterfall {
  const made = layOut(explanation(seed));
  if (!made) throw new Error(`seed ${seed} cannot be laid out`);
  return made;
}

const SEEDS = Array.from({ length: 500 }, (_, seed) => seed);

describe("a waterfall", () => {
  test("adds up from base value to prediction at every moment", () => {
    for (const seed of SEEDS) {
      const made = plan(seed);
      const precision =
        1e-9 * (Math.abs(made.base) + Math.abs(made.prediction) + Math.abs(made.high - made.low) + 1e-6);
      for (let shown = 0; shown <= made.rows.length; shown += 1) {
        const rows = buildUp(made, shown);
        const sum = rows.reduce((total, { contribution }) => total + contribution, made.base);
        expect(Math.abs(sum - made.prediction), `seed ${seed}, ${shown} rows`).toBeLessThanOrEqual(precision);
        rows.forEach((row, index) => {
          expect(row.from, `seed ${seed}: no hole before row ${index}`).toBe(rows[index - 1]?.to ?? made.base);
        });
        expect(rows.at(-1)?.to ?? made.prediction).toBe(made.prediction);
      }
    }
  });

  test("shows ten features at most, greatest first, and what is left in one row at the end", () => {
    for (const seed of SEEDS) {
      const { rows } = plan(seed);
      const features = rows.filter(({ kind }) => kind === "feature").map(({ contribution }) => Math.abs(contribution));
      expect(features.length).toBeLessThanOrEqual(10);
      expect(features).toEqual([...features].sort((a, b) => b - a));
      expect(rows.filter(({ kind }) => kind === "other").length).toBeLessThanOrEqual(1);
      rows.slice(0, -1).forEach(({ kind }) => {
        expect(kind).toBe("feature");
      });
    }
  });

  test("has a remaining bar exactly while rows are missing", () => {
    const contributions = Array.from({ length: 12 }, (_, index) => ({ feature: `f${index}`, contribution: 1 }));
    const made = layOut({ prediction: 12, contributions }) as Waterfall;
    expect(made.rows.length).toBe(11);
    for (let shown = 0; shown <= made.rows.length; shown += 1) {
      const rows = buildUp(made, shown);
      expect(rows.filter(({ kind }) => kind === "remaining").length).toBe(shown < made.rows.length ? 1 : 0);
      expect(rows.length).toBe(Math.min(made.rows.length, shown + 1));
    }
  });

  test("keeps every bar within the drawing", () => {
    for (const seed of SEEDS) {
      const made = plan(seed);
      const at = scale(made);
      for (let shown = 0; shown <= made.rows.length; shown += 1) {
        for (const { from, to } of buildUp(made, shown)) {
          for (const end of [at(from), at(to)]) {
            expect(end).toBeGreaterThanOrEqual(-1e-6);
            expect(end).toBeLessThanOrEqual(100 + 1e-6);
          }
        }
      }
    }
  });

  test("counts the features it does not show, and calls what was not sent so", () => {
    const contributions = Array.from({ length: 13 }, (_, index) => ({
      feature: `f${index}`,
      contribution: 13 - index,
    }));
    expect(layOut({ prediction: 91, contributions })?.rows.at(-1)?.name).toBe("3 other features");
    expect(layOut({ prediction: 92, contributions: contributions.slice(0, 3) })?.rows.at(-1)?.name).toBe("not listed");
  });

  test("of what is not finite is not drawn", () => {
    expect(layOut({ baseValue: "NaN", prediction: 1 })).toBeNull();
    expect(layOut({ prediction: 1, contributions: [{ feature: "f", contribution: "Infinity" }] })).toBeNull();
  });

  test("of one value has its place in the middle", () => {
    const made = layOut({ baseValue: 5, prediction: 5 });
    expect(made?.rows).toEqual([]);
    expect(made && scale(made)(5)).toBe(50);
  });
});

test("the newest explanation takes over once the one shown had its time", () => {
  expect(isDue(null, "a", 0, 0, 8_000)).toBe(true);
  expect(isDue("a", "a", 0, 99_000, 8_000)).toBe(false);
  expect(isDue("a", "b", 0, 7_999, 8_000)).toBe(false);
  expect(isDue("a", "b", 0, 8_000, 8_000)).toBe(true);
  expect(isDue("a", null, 0, 8_000, 8_000)).toBe(false);
});
