// Gaps in lists, ranked recommendations, handoffs step by step, and what is said of the connection.

import { LanecastError } from "@lanecast/client";
import type { Handoff } from "@lanecast/client/react";
import { describe, expect, test } from "vitest";
import { gapText, withGaps } from "../src/logic/gaps.ts";
import { outcome, tell, waiting } from "../src/logic/handoffs.ts";
import { statusOf } from "../src/logic/status.ts";
import { polyline, segments } from "../src/logic/strategy.ts";
import { insight, recommendation, step, T0 } from "./events.ts";

const GAP = {
  channel: "agent:42",
  lane: "CRITICAL",
  epoch: "e1",
  fromOffset: 3n,
  toOffset: 6n,
  reason: "TRUNCATED",
  count: 3,
} as const;

describe("a gap", () => {
  const places = (offsets: number[], gap: Parameters<typeof withGaps>[1][number]) =>
    withGaps(
      offsets.map((offset) => insight(offset)),
      [gap],
    ).map((line) => (line.kind === "gap" ? "gap" : Number(line.event.offset)));

  test("is a line between the events it lies between", () => {
    expect(places([9, 7, 3, 2], GAP)).toEqual([9, 7, "gap", 3, 2]);
    expect(places([9, 7], GAP)).toEqual([9, 7, "gap"]);
    expect(places([3, 2], GAP)).toEqual(["gap", 3, 2]);
    expect(places([], GAP)).toEqual(["gap"]);
  });

  test("of a new epoch lies before what is from the old one", () => {
    const lines = withGaps(
      [insight(2, { epoch: "e2" }), insight(900)],
      [{ ...GAP, epoch: "e2", fromOffset: 0n, toOffset: 1n }],
    );
    expect(lines.map(({ kind }) => kind)).toEqual(["event", "gap", "event"]);
  });

  test("says how many are missing, where that is known, and why", () => {
    expect(gapText(GAP)).toBe("3 events are missing: this device was away longer than they are kept");
    expect(gapText({ reason: "SHED", count: 1 })).toBe("1 event is missing: dropped while this device was too slow");
    expect(gapText({ reason: "UNEXPLAINED", count: 0 })).toBe("Some events are missing here");
  });
});

describe("recommendations", () => {
  const evidence = [
    { action: "call", trials: "3", successes: "1", meanReward: 0.4, probabilityBest: 0.2 },
    { action: "visit", trials: "6", successes: "4", meanReward: 0.6, probabilityBest: 0.7 },
  ];
  const events = [
    recommendation(1, { segment: "young", action: "call", expectedReward: 0.5, evidence }),
    recommendation(2, { segment: "old", action: "call", expectedReward: 0.7, evidence }),
    recommendation(3, { segment: "young", action: "visit", expectedReward: 0.6, evidence }),
    recommendation(4, { segment: "young", action: "call", expectedReward: 0.4, exploratory: true, evidence }),
  ];

  test("are ranked by what they should bring, one per segment", () => {
    expect(segments(events).map(({ segment, expected }) => `${segment} ${expected}`)).toEqual(["old 0.7", "young 0.6"]);
  });

  test("that only try something out do not replace what is known to be best", () => {
    const young = segments(events)[1];
    expect(young?.action).toBe("visit");
    expect(young?.trying).toBe("call");
    expect(young?.probabilityBest).toBe(0.7);
    expect(young?.points.map(({ value }) => value)).toEqual([0.5, 0.6]);
    expect(young?.changes).toEqual([{ at: T0 + 3_000, from: "call", to: "visit" }]);
    expect(young?.evidence.map(({ action }) => action)).toEqual(["visit", "call"]);
  });

  test("are shown where there are none but tries", () => {
    const [only] = segments([recommendation(1, { segment: "s", action: "call", exploratory: true })]);
    expect(only?.action).toBe("call");
    expect(only?.trying).toBeNull();
  });

  test("draw a line within its box", () => {
    const points = [0.2, 0.8, 0.5].map((value, at) => ({ at, value }));
    expect(polyline(points, 100, 40)).toBe("0.0,40.0 50.0,0.0 100.0,20.0");
    expect(polyline(points.slice(0, 1), 100, 40)).toBe("0.0,20.0");
  });
});

describe("a handoff", () => {
  const handoff = (...steps: Handoff["steps"]): Handoff => ({
    handoffId: "h1",
    conversationId: "c1",
    from: "triage",
    to: "sales",
    state: steps.at(-1)?.data.state ?? "HANDOFF_STATE_UNSPECIFIED",
    steps,
  });
  const told = (...steps: Handoff["steps"]) => {
    const found = tell(handoff(...steps));
    if (!found) throw new Error("a handoff with steps can be told");
    return found;
  };
  const offered = step(1, "HANDOFF_STATE_OFFERED", { expireTime: new Date(T0 + 6_000).toISOString() });

  test("waits until it is answered, for as long as the offer holds", () => {
    const open = told(offered);
    expect(open.owner).toBe("triage");
    expect(waiting(open, T0 + 3_500)).toEqual({ open: true, ms: 2_500, share: 0.5 });
    expect(waiting(open, T0 + 60_000)?.share).toBe(1);
    expect(waiting(open, T0)?.ms).toBe(0);
  });

  test("is the receiver's only once it is confirmed", () => {
    const accepted = told(offered, step(3, "HANDOFF_STATE_ACCEPTED"));
    expect([accepted.owner, outcome(accepted)]).toEqual(["triage", "sales is ready, triage still has it"]);
    const confirmed = told(offered, step(3, "HANDOFF_STATE_ACCEPTED"), step(4, "HANDOFF_STATE_CONFIRMED"));
    expect([confirmed.owner, outcome(confirmed)]).toEqual(["sales", "sales has the conversation"]);
    expect(waiting(confirmed, T0 + 99_000)).toMatchObject({ open: false, ms: 2_000 });
    const declined = told(offered, step(3, "HANDOFF_STATE_DECLINED"));
    expect([declined.owner, outcome(declined)]).toEqual(["triage", "sales declined, it stays with triage"]);
  });

  test("whose offer was not seen has no waiting time, and keeps the longest tale it has", () => {
    const turns = [{ speaker: "customer", text: "Hello" }];
    const late = told(step(3, "HANDOFF_STATE_ACCEPTED", { recentTurns: turns }), step(4, "HANDOFF_STATE_CONFIRMED"));
    expect(waiting(late, T0)).toBeNull();
    expect(late.turns).toEqual(turns);
  });
});

describe("the connection", () => {
  const base = { error: null, retryAt: null, session: null };
  const of = (state: Parameters<typeof statusOf>[0]["state"], online = true) => statusOf({ state, online, now: T0 });

  test("says what to do in every state but the good one and the first", () => {
    expect(of({ ...base, status: "connected" })).toMatchObject({ label: "Live", advice: null });
    expect(of({ ...base, status: "connected" }, false).label).toBe("Live");
    expect(of({ ...base, status: "reconnecting", retryAt: T0 + 4_200 }).advice).toContain("trying again in 5 s");
    expect(of({ ...base, status: "reconnecting", retryAt: T0 - 1 }).advice).toContain("trying again now");
    expect(of({ ...base, status: "reconnecting" }, false)).toMatchObject({ label: "Offline", tone: "warn" });
    expect(of({ ...base, status: "polling" })).toMatchObject({ label: "Polling", tone: "warn" });
    expect(of({ ...base, status: "connecting" })).toMatchObject({ label: "Connecting", advice: null });
  });

  test("that was refused for good offers another try and the reason", () => {
    const error = new LanecastError("TOKEN_INVALID", "the token is not valid", {
      retryable: false,
      remediation: "Sign in again.",
    });
    expect(of({ ...base, status: "failed", error })).toEqual({
      label: "Stopped",
      tone: "bad",
      advice: "The token is not valid. Sign in again.",
      canRetry: true,
    });
  });
});
