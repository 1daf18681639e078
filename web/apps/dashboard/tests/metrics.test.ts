// Reading the service's figures, and adding hops up without counting any time twice.

import { expect, test } from "vitest";
import { byPlace } from "../src/lanes.ts";
import { Metrics, overall, readFigures } from "../src/metrics.ts";

const figure = (fields: object) => ({
  lane: "PRIORITY_CRITICAL",
  type: "",
  count: "4",
  p50Seconds: 0.0004,
  p95Seconds: 0.0006,
  p99Seconds: 0.0008,
  meanSeconds: 0.0005,
  ...fields,
});

const MESSAGE = {
  latency: {
    figures: [
      figure({ scope: "LATENCY_SCOPE_SERVER", type: "lanecast.ai.v1.ConciergeInsight", p99Seconds: 9 }),
      figure({ scope: "LATENCY_SCOPE_SERVER", withinBudget: 0.75 }),
      figure({ scope: "LATENCY_SCOPE_END_TO_END", p50Seconds: 0.002 }),
      figure({ scope: "LATENCY_SCOPE_HOP", hop: "HOP_TRANSIT", meanSeconds: 0.001 }),
      figure({ scope: "LATENCY_SCOPE_HOP", hop: "HOP_SOCKET_WRITE", meanSeconds: 0.0002 }),
      figure({ scope: "LATENCY_SCOPE_HOP", hop: "HOP_LAST_MILE", meanSeconds: 0.0009 }),
      figure({ scope: "LATENCY_SCOPE_HOP", hop: "HOP_TRANSIT", lane: "PRIORITY_LOW", count: "12", meanSeconds: 0.005 }),
    ],
  },
  throughput: { figures: [{ lane: "PRIORITY_CRITICAL", deliveredPerSecond: 12.5 }], connections: "3" },
};

test("figures of all types together are taken, in milliseconds", () => {
  const { CRITICAL, HIGH } = readFigures(MESSAGE);
  expect(CRITICAL.server).toMatchObject({ count: 4, p50: 0.4, p99: 0.8 });
  expect(CRITICAL.endToEnd?.p50).toBe(2);
  expect(CRITICAL).toMatchObject({ withinBudget: 0.75, deliveredPerSecond: 12.5 });
  expect(CRITICAL.hops).toEqual({ transit: 1, socket_write: 0.2, last_mile: 0.9 });
  expect(HIGH.server).toBeNull();
});

test("the last mile does not count the write to the socket again", () => {
  const places = Object.fromEntries(byPlace(readFigures(MESSAGE).CRITICAL.hops).map(({ id, ms }) => [id, ms]));
  expect(places.gateway).toBeCloseTo(0.2);
  expect(places.browser).toBeCloseTo(0.7);
  expect(Object.values(places).reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(1.9);
});

test("a write that is noted late does not make the way longer", () => {
  const places = byPlace({ edge_wait: 1, socket_write: 28, last_mile: 3 });
  expect(places.map(({ ms }) => ms)).toEqual([0, 0, 0, 4, 0]);
});

test("skew between servers does not make a negative stretch", () => {
  expect(byPlace({ transit: -3, ingest: 1 }).map(({ ms }) => ms)).toEqual([0, 1, 0, 0, 0]);
});

test("the mean over lanes weighs each by its events", () => {
  expect(overall(readFigures(MESSAGE))?.transit).toBeCloseTo(0.4);
  expect(overall(readFigures({}))).toBeNull();
});

test("history grows by a point a message and shows silence as silence", () => {
  const metrics = new Metrics();
  metrics.take(MESSAGE);
  metrics.take({});
  for (let index = 0; index < 200; index++) metrics.take(MESSAGE);
  const history = metrics.snapshot.get().history.CRITICAL;
  expect(history).toHaveLength(90);
  expect(metrics.snapshot.get()).toMatchObject({ state: "live", connections: 3 });
  const other = new Metrics();
  other.take(MESSAGE);
  other.take({});
  expect(other.snapshot.get().history.CRITICAL).toEqual([0.8, null]);
});
