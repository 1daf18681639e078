// @vitest-environment jsdom
// What the panels compute: places on scales, words, CSV, what an answer says.

import { describe, expect, test, vi } from "vitest";
import "./setup.ts";
import { toCsv } from "../src/components/data-table.tsx";
import demoPlan from "../src/data/demo-plan.json";
import { EventCutter } from "../src/data/event-stream.ts";
import { firing, newestFirst, Operations, stateOf, underWay } from "../src/data/operations.ts";
import { duration, name, seconds, time } from "../src/data/protojson.ts";
import { planOf } from "../src/data/rollout-verbs.ts";
import type { RuleResultJson } from "../src/data/types.ts";
import { uuid } from "../src/data/uuid.ts";
import { perLane } from "../src/feed.ts";
import { readFigures } from "../src/metrics.ts";
import { verdict } from "../src/panels/health/browser.tsx";
import { position } from "../src/panels/health/budget-bar.tsx";
import { partsOf } from "../src/panels/health/hops.tsx";
import { burn } from "../src/panels/health/lane-strip.tsx";
import { marksOf } from "../src/panels/health/markers.ts";
import { began, columnsOf, decades } from "../src/panels/health/series.ts";
import { answer } from "../src/panels/health/throughput.tsx";
import { figureOf, place } from "../src/panels/rollout/scale.ts";
import { bodyOf, problemOf, USUAL } from "../src/panels/tests/performance.ts";
import { address, parse } from "../src/router.ts";
import { span, typeName } from "../src/words.ts";
import { makeRollout } from "./rollouts.ts";

describe("reading", () => {
  test("ProtoJSON", () => {
    expect([seconds("1.5s"), seconds(undefined), duration(0.25), duration(10)]).toEqual([1.5, 0, "0.25s", "10s"]);
    expect(name("ROLLOUT_STATE_HELD", "ROLLOUT_STATE_")).toBe("HELD");
    expect(name("HOLD_REASON_UNSPECIFIED", "HOLD_REASON_")).toBe("");
    expect([time("1970-01-01T00:00:00Z"), time(""), time("2026-01-01T00:00:00Z")]).toEqual([null, null, 1767225600000]);
  });

  test("addresses, also those that nobody has made", () => {
    expect(parse(address("rollouts", "r-1/2"))).toEqual({ view: "rollouts", item: "r-1/2" });
    expect(parse("#/nonsense/x")).toEqual({ view: "live", item: "" });
    expect(parse("#/rollouts/%E0%A4%A")).toEqual({ view: "rollouts", item: "" });
    expect(parse("")).toEqual({ view: "live", item: "" });
  });

  test("server-sent events in whatever pieces they come", () => {
    const text = 'event: progress\ndata: {"a":1}\n\n: comment\n\nevent: result\r\ndata: x\r\ndata: y\r\n\r\n';
    for (const size of [1, 2, 7, 200]) {
      const cutter = new EventCutter();
      const found = [];
      for (let at = 0; at < text.length; at += size) found.push(...cutter.take(text.slice(at, at + size)));
      expect(found).toEqual([
        { name: "progress", data: '{"a":1}' },
        { name: "result", data: "x\ny" },
      ]);
    }
  });
});

test("words for spans and types", () => {
  expect([span(0), span(59.6), span(3_600), span(90_061)]).toEqual(["0 s", "1 min", "1 h", "1 d 1 h"]);
  expect(typeName("lanecast.ai.v1.ShapExplanation")).toBe("Shap Explanation");
});

test("CSV quotes what it must, and disarms formulas", () => {
  const columns = [
    { key: "a", label: "a" },
    { key: "b", label: "b, in ms" },
  ];
  const rows = [{ a: { value: '=1+"2"' }, b: { value: -1.5 } }, { a: { value: null } }];
  expect(toCsv(columns, rows)).toBe('a,"b, in ms"\r\n"\'=1+""2""",-1.5\r\n,\r\n');
});

test("a UUID is one of version 4", () => {
  expect(uuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

describe("operations", () => {
  test("what the stream brought is not undone by an older answer", async () => {
    const operations = new Operations();
    operations.takeRollout(makeRollout({ version: "7", state: "ROLLOUT_STATE_HELD" }));
    operations.takeRollout(makeRollout({ version: "6" }));
    await vi.waitFor(() => expect(operations.rollouts.get().all.size).toBe(1));
    const { all, loaded } = operations.rollouts.get();
    expect([...all.values()].map(stateOf)).toEqual(["HELD"]);
    expect(loaded, "only the list is the whole").toBe(false);
  });

  test("which one is under way, and what fires", () => {
    const over = makeRollout({ id: "a", state: "ROLLOUT_STATE_COMPLETED", createTime: "2026-01-02T00:00:00Z" });
    const held = makeRollout({ id: "b", state: "ROLLOUT_STATE_HELD" });
    expect(underWay([over, makeRollout({ id: "c", state: "ROLLOUT_STATE_DRAFT" })])).toBeNull();
    expect(underWay([over, held])).toBe(held);
    expect(newestFirst([held, over])[0]).toBe(over);
    expect(firing([{ state: "ALERT_STATE_FIRING" }, { state: "ALERT_STATE_PENDING" }] as never)).toHaveLength(1);
  });
});

describe("the place of a rule", () => {
  const rule = (fields: Partial<RuleResultJson>): RuleResultJson => ({
    rule: "ratio/HIGH/p99",
    verdict: "VERDICT_PASS",
    text: "",
    value: 1.1,
    low: 1,
    high: 1.2,
    limit: 1.1,
    controlSamples: "1",
    candidateSamples: "1",
    critical: false,
    guardOnly: false,
    ...fields,
  });

  test("the limit is in the middle, and harm is to its right", () => {
    expect(place(rule({}))?.value).toBeCloseTo(0.5);
    expect(place(rule({ value: 2.2 }))?.value).toBeGreaterThan(0.6);
    expect(place(rule({ rule: "rate/HIGH", limit: 0.8, value: 0.4, low: 0.3, high: 0.5 }))?.value).toBeGreaterThan(0.6);
    const slo = place(rule({ rule: "slo/HIGH", limit: 0.99, value: 0.9, low: 0.88, high: 0.92 }));
    expect(slo?.low).toBeGreaterThan(0.9);
    expect(slo?.high).toBe(1);
  });

  test("what has no interval is not drawn", () => {
    expect(place(rule({ rule: "invariant/lost", value: 0, low: 0, high: 0, limit: 0 }))).toBeNull();
    expect(place(rule({ verdict: "VERDICT_NO_DATA" }))).toBeNull();
  });

  test("figures are in the unit of the rule", () => {
    expect(figureOf(rule({ rule: "slo/LOW" }), 0.995)).toBe("99.50 %");
    expect(figureOf(rule({ rule: "limit/LOW/p90" }), 0.0029)).toBe("2.90 ms");
    expect(figureOf(rule({}), 0.012)).toBe("0.012×");
  });
});

test("a plan of the demo is that of the command line", () => {
  expect(planOf("legacy-500ms", "default", "demo", false, true)).toEqual(demoPlan);
  const gated = planOf("legacy-500ms", "default", "demo", true, true);
  expect(gated.stages?.map(({ percent, gated }) => [percent, gated])).toContainEqual([25, true]);
  expect(planOf("a", "b", "standard", false, false)).not.toHaveProperty("lookInterval");
});

describe("health", () => {
  const figures = readFigures({
    latency: {
      figures: [
        { scope: "LATENCY_SCOPE_HOP", hop: "HOP_INGEST", lane: "PRIORITY_LOW", count: "1", meanSeconds: 0.001 },
        { scope: "LATENCY_SCOPE_HOP", hop: "HOP_SOCKET_WRITE", lane: "PRIORITY_LOW", count: "1", meanSeconds: 0.002 },
        { scope: "LATENCY_SCOPE_HOP", hop: "HOP_LAST_MILE", lane: "PRIORITY_LOW", count: "1", meanSeconds: 0.005 },
      ],
    },
  });

  test("the parts of a way do not overlap, and add up", () => {
    const parts = partsOf(figures.LOW);
    expect(parts.map(({ hop, ms }) => [hop, ms])).toEqual([
      ["ingest", 1],
      ["socket_write", 2],
      ["last_mile", 3],
    ]);
  });

  test("losses are named before refusals, and calm is said", () => {
    const calm = perLane(() => figures.HIGH);
    expect(answer(calm).tone).toBe("good");
    const refusing = { ...calm, LOW: { ...figures.HIGH, rejectedPerSecond: 3 } };
    expect(answer(refusing).text).toContain("Refusing at the door: Low 3.0/s");
    expect(answer({ ...refusing, HIGH: { ...figures.HIGH, droppedPerSecond: 1 } }).text).toContain("Shedding: High");
  });

  test("a burn of one spends the budget in its time", () => {
    const status = { goodRatio: 0.98, objective: 0.99 } as never;
    expect(burn(status)).toBeCloseTo(2);
    expect(burn(undefined)).toBeNull();
  });

  test("the limit is at the same place in each lane", () => {
    expect(position(1, 1)).toBe(position(50, 50));
    expect([position(1e-9, 1), position(1e9, 1)]).toEqual([0, 1]);
  });

  test("it is this browser only beyond what the clock leaves open", () => {
    const all = { count: 1, p50: 2, p95: 2, p99: 2, mean: 2 };
    const mine = { perSecond: 1, count: 1, p50: 5, p95: 5, p99: 5, uncertainty: 2, hops: {} };
    expect(verdict([{ mine, all }]).tone).toBe("good");
    expect(verdict([{ mine: { ...mine, p50: 7 }, all }]).text).toContain("It is this browser");
    expect(verdict([{ mine: null, all }]).tone).toBe("none");
  });
});

describe("history", () => {
  const history = {
    step: "1s",
    points: [1, 2, 3].map((second) => ({
      startTime: new Date(second * 1_000).toISOString(),
      figures:
        second === 2
          ? []
          : [{ lane: "PRIORITY_LOW", count: "4", p50Seconds: 0.002, p99Seconds: 0.02 * second } as never],
    })),
  };

  test("silence is no latency of zero", () => {
    const { times, p99 } = columnsOf(history);
    expect(times).toEqual([1, 2, 3]);
    expect(p99.LOW).toEqual([20, null, 60]);
    expect(p99.HIGH).toEqual([null, null, null]);
  });

  test("one scale in whole decades", () => {
    expect(decades(columnsOf(history), [1, 50])).toEqual([1, 100]);
    expect(decades(columnsOf({ step: "1s", points: [] }), [])).toEqual([0.1, 100]);
  });

  test("it began where the limit was crossed for good", () => {
    expect(began([1, 2, 3, 4], [60, 10, 70, null], 50)).toBe(3);
    expect(began([1, 2], [60, 10], 50)).toBeNull();
  });

  test("marks are where the exposure changed", () => {
    const moved = (at: string, exposure: number, state: string) => ({
      time: at,
      kind: "moved",
      dataJson: JSON.stringify({ exposure, state }),
    });
    const marks = marksOf([
      moved("2026-01-01T00:00:00Z", 0, "STARTING"),
      moved("2026-01-01T00:00:10Z", 1_000, "PROPAGATING"),
      moved("2026-01-01T00:00:20Z", 1_000, "ANALYSING"),
      moved("2026-01-01T00:00:30Z", 0, "ROLLING_BACK"),
    ]);
    expect(marks.map(({ text }) => text)).toEqual(["10 %", "↩ back"]);
  });
});

test("an order of a test is checked before it is sent", () => {
  expect(problemOf(USUAL)).toBe("");
  expect(problemOf({ ...USUAL, eventsPerSecond: Number.NaN })).toContain("1 to 50,000");
  expect(problemOf({ ...USUAL, mix: [0, 0, 0, 0] })).toContain("one lane");
  expect(bodyOf(USUAL)).toMatchObject({ duration: "10s", mix: [{ lane: "PRIORITY_CRITICAL", weight: 1 }, {}, {}, {}] });
});
