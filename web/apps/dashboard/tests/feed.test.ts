// The feed under any rate: bounded, in order, one showing per frame, still while paused.

import { beforeEach, describe, expect, test } from "vitest";
import { CARDS_PER_LANE, Feed, REST_MS } from "../src/feed.ts";
import { insight, LATENCY } from "./events.ts";

let time = 0;
let frames: (() => void)[] = [];
let timers: (() => void)[] = [];
let feed: Feed;

/** One animation frame. */
function frame(): void {
  for (const call of frames.splice(0)) call();
}

/** Ends the rest after a showing, then one frame. */
function rested(): void {
  for (const call of timers.splice(0)) call();
  frame();
}

function headlines(): unknown[] {
  return feed.snapshot.get().lanes.CRITICAL.items.map(({ event }) => (event.data as { text?: string }).text);
}

/** Gives the lane as many cards as it keeps. */
function fill(): void {
  for (let index = 0; index < CARDS_PER_LANE; index++) feed.add(insight(`old ${index}`));
  frame();
}

beforeEach(() => {
  time = 0;
  frames = [];
  timers = [];
  feed = new Feed({
    now: () => time,
    nextFrame: (call) => frames.push(call),
    after: (_ms, call) => timers.push(call),
  });
});

describe("showing", () => {
  test("waits for the frame and shows the newest first", () => {
    feed.add(insight("one"));
    feed.add(insight("two"));
    expect(headlines()).toEqual([]);
    expect(frames).toHaveLength(1);
    frame();
    expect(headlines()).toEqual(["two", "one"]);
  });

  test("keeps a bounded number of cards and counts all", () => {
    for (let index = 0; index < 10_000; index++) feed.add(insight(`${index}`));
    frame();
    const { items, total } = feed.snapshot.get().lanes.CRITICAL;
    expect(items).toHaveLength(CARDS_PER_LANE);
    expect(headlines()[0]).toBe("9999");
    expect(total).toBe(10_000);
    feed.add(insight("one more"));
    rested();
    expect(headlines()).toHaveLength(CARDS_PER_LANE);
    expect(headlines()[0]).toBe("one more");
  });

  test("rests after each showing, then shows what came meanwhile", () => {
    feed.add(insight("one"));
    frame();
    feed.add(insight("later"));
    expect(frames).toHaveLength(0);
    rested();
    expect(headlines()).toEqual(["later", "one"]);
  });

  test("shows one of a crowd at a time, says so, and counts all of it", () => {
    fill();
    expect(feed.snapshot.get().lanes.CRITICAL.crowded, "what fills an empty lane is no crowd").toBe(false);
    for (let index = 0; index < 50; index++) feed.add(insight(`new ${index}`));
    rested();
    expect(headlines().slice(0, 2)).toEqual(["new 49", "old 19"]);
    expect(feed.snapshot.get().lanes.CRITICAL).toMatchObject({ crowded: true, total: 70 });
    feed.add(insight("too soon"));
    rested();
    expect(headlines()[0]).toBe("new 49");
    time += REST_MS;
    rested();
    expect(headlines().slice(0, 2)).toEqual(["too soon", "new 49"]);
    expect(feed.snapshot.get().lanes.CRITICAL.crowded, "one card holds all that came").toBe(false);
    rested();
    expect(frames).toHaveLength(0);
  });

  test("a crowd that is over is one no more, without another event", () => {
    fill();
    for (let index = 0; index < 5; index++) feed.add(insight(`new ${index}`));
    rested();
    time += REST_MS;
    rested();
    expect(feed.snapshot.get().lanes.CRITICAL.crowded).toBe(false);
    rested();
    expect(frames).toHaveLength(0);
  });

  test("each channel gets its turn, however loud another is", () => {
    fill();
    const seen = new Set<string>();
    for (let turn = 0; turn < 9; turn++) {
      for (let quiet = 2; quiet <= 10; quiet++) feed.add(insight("quiet", { channel: `agent:${quiet}` }));
      for (let loud = 0; loud < 40; loud++) feed.add(insight("loud", { channel: "agent:1" }));
      rested();
      time += REST_MS;
      seen.add(feed.snapshot.get().lanes.CRITICAL.items[0]?.event.channel ?? "");
    }
    expect(seen).toHaveLength(9);
    expect(feed.snapshot.get().lanes.CRITICAL.channels).toBe(11);
  });

  test("a full lane's rest does not hold up another lane", () => {
    fill();
    feed.add(insight("first"));
    rested();
    feed.add(insight("high", { lane: "HIGH" }));
    rested();
    expect(feed.snapshot.get().lanes.HIGH.total).toBe(1);
  });

  test("a lane without news keeps its very items, so that nothing of it renders again", () => {
    feed.add(insight("high", { lane: "HIGH" }));
    frame();
    const before = feed.snapshot.get().lanes.HIGH;
    feed.add(insight("critical"));
    rested();
    expect(feed.snapshot.get().lanes.HIGH).toBe(before);
  });
});

test("a pause holds the cards, counts, and resumes with the newest", () => {
  feed.add(insight("before"));
  frame();
  feed.setPaused(true);
  for (let index = 0; index < 30; index++) feed.add(insight(`held ${index}`));
  rested();
  expect(headlines()).toEqual(["before"]);
  expect(feed.snapshot.get()).toMatchObject({ paused: true, missed: 30 });
  feed.setPaused(false);
  expect(headlines()[0]).toBe("held 29");
  expect(feed.snapshot.get()).toMatchObject({ paused: false, missed: 0, total: 31 });
});

describe("this browser's figures", () => {
  test("quantiles, mean hops and rate come from live events", () => {
    for (let ms = 1; ms <= 100; ms++) {
      time += 100;
      feed.add(insight("x", { latency: { ...LATENCY, oneWayMs: ms } }));
    }
    feed.add(insight("old", { latency: null, delivery: "recovered" }));
    feed.measure();
    expect(feed.browser.get().CRITICAL).toMatchObject({ count: 100, p50: 50, p95: 95, p99: 99 });
    expect(feed.browser.get().CRITICAL?.hops.transit).toBeCloseTo(0.5);
    expect(feed.browser.get().CRITICAL?.perSecond).toBeCloseTo(10, 0);
    expect(feed.browser.get().LOW).toBeNull();
  });

  test("samples stay bounded and new", () => {
    for (let ms = 0; ms < 5_000; ms++) feed.add(insight("x", { latency: { ...LATENCY, oneWayMs: ms } }));
    feed.measure();
    expect(feed.browser.get().CRITICAL?.count).toBe(512);
    expect(feed.browser.get().CRITICAL?.p50).toBeGreaterThan(4_400);
  });
});
