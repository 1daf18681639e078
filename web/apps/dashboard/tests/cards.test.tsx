// @vitest-environment jsdom
// The cards: each kind says what matters, survives what is missing, and needs no colour to be understood.

import { fireEvent, render, screen } from "@testing-library/react";
import { describe, expect, test } from "vitest";
import "./setup.ts";
import { waterfall } from "../src/components/cards/explanation.tsx";
import { EventCard } from "../src/components/event-card.tsx";
import type { AiEvent } from "../src/feed.ts";
import { insight, LATENCY, makeEvent } from "./events.ts";

function show(event: AiEvent): HTMLElement {
  const item = { key: 1, arrived: new Date(), event };
  return render(<EventCard item={item} />).container;
}

describe("latency", () => {
  test("is written with its bound and its lane in words", () => {
    const card = show(insight("Name the date."));
    expect(card.querySelector(".latency")?.textContent).toBe("✓ 2.50 ms ±0.20 ms");
    expect(screen.getByText("Lane critical:")).toBeTruthy();
  });

  test("an event from the log has none", () => {
    const card = show(insight("x", { latency: null, delivery: "recovered" }));
    expect(card.querySelector(".latency")?.textContent).toBe("from the log");
  });

  test("a grade that is not certain says so", () => {
    const card = show(insight("x", { latency: { ...LATENCY, oneWayMs: 9.9, uncertaintyMs: 1, grade: "unknown" } }));
    expect(card.querySelector(".latency")?.textContent).toContain("?");
  });

  test("the journey is there for who asks", () => {
    const card = show(insight("x"));
    expect(card.querySelector("dl")).toBeNull();
    const details = card.querySelector("details");
    if (details) {
      details.open = true;
      fireEvent(details, new Event("toggle"));
    }
    expect(screen.getByText("to the gateway").nextSibling?.textContent).toBe("0.50 ms");
    expect(screen.getByText("e1 : 7")).toBeTruthy();
  });
});

test("an insight marks the words that carried it", () => {
  const card = show(
    makeEvent("lanecast.ai.v1.ConciergeInsight", {
      text: "Name what is included.",
      kind: "INSIGHT_KIND_BUYING_SIGNAL",
      utterance: "That is expensive (really).",
      evidence: [{ term: "expensive", weight: 2 }, { term: "(really" }],
      confidence: 0.913,
    }),
  );
  expect(card.querySelector("mark")?.textContent).toBe("expensive");
  expect(card.querySelector("blockquote")?.textContent).toBe("That is expensive (really).");
  expect(screen.getByText("Buying signal")).toBeTruthy();
  expect(screen.getByText("91 % sure")).toBeTruthy();
});

describe("an explanation", () => {
  const data = {
    subject: "House 88",
    unit: "CAD",
    baseValue: 1_000,
    prediction: 1_330,
    remainingContribution: 5,
    contributions: [1, -2, 300, -4, 50, 6, -26].map((contribution, index) => ({
      feature: `f${index}`,
      contribution,
    })),
  };

  test("starts at the mean and always adds up to the prediction", () => {
    const steps = waterfall(data);
    expect(steps[0]).toMatchObject({ name: "f2", from: 1_000, to: 1_300 });
    expect(steps.at(-1)).toMatchObject({ name: "2 other features" });
    expect(steps.at(-1)?.to).toBeCloseTo(data.prediction);
    steps.slice(1).forEach((step, index) => {
      expect(step.from).toBe(steps[index]?.to);
    });
  });

  test("says up and down by arrows and signs", () => {
    const card = show(makeEvent("lanecast.ai.v1.ShapExplanation", data));
    const rows = [...card.querySelectorAll(".change")].map((change) => change.textContent);
    expect(rows[0]).toBe("▲ +$300");
    expect(rows).toContain("▼ -$26");
    expect(card.textContent).toContain("$1,330");
  });
});

test("a recommendation shows its interval and what else was considered", () => {
  const card = show(
    makeEvent("lanecast.ai.v1.StrategyRecommendation", {
      segment: "first-time-buyer",
      action: "offer-viewing",
      expectedReward: 0.62,
      rewardLower: 0.51,
      rewardUpper: 0.72,
      evidence: [{ action: "offer-viewing", trials: "214", successes: "133", probabilityBest: 0.86 }],
    }),
  );
  expect(card.textContent).toContain("62 % (51 %–72 %)");
  expect(card.textContent).toContain("133 of 214");
});

describe("a handoff", () => {
  test("shows how far it has come", () => {
    const card = show(
      makeEvent("lanecast.ai.v1.BotHandoff", {
        fromBot: "greeter",
        toBot: "mortgage",
        state: "HANDOFF_STATE_ACCEPTED",
      }),
    );
    expect([...card.querySelectorAll(".steps li")].map((step) => step.textContent)).toEqual([
      "● Offered",
      "● Accepted",
      "○ Confirmed",
    ]);
  });

  test("that failed says so", () => {
    const card = show(makeEvent("lanecast.ai.v1.BotHandoff", { state: "HANDOFF_STATE_TIMED_OUT" }));
    expect(card.querySelector(".tag.bad")?.textContent).toBe("✕ Timed out");
  });
});

test.each([
  "lanecast.ai.v1.ConciergeInsight",
  "lanecast.ai.v1.BotHandoff",
  "lanecast.ai.v1.ShapExplanation",
  "lanecast.ai.v1.StrategyRecommendation",
] as const)("%s with nothing in it still has a card", (type) => {
  expect(show(makeEvent(type, {})).querySelector("article")).toBeTruthy();
});

test("a type without a card of its own is shown as it is", () => {
  const event = { ...insight("x"), type: "acme.Thing", data: { value: "AQL/" } } as unknown as AiEvent;
  expect(show(event).textContent).toContain("AQL/");
});
