// Which insight is large: what is kept, recovered and live, merged; decided ones out of the way; nothing under the finger.

import { describe, expect, test } from "vitest";
import { Decisions } from "../src/decisions.ts";
import { arrange, marked, newestFirst, settle } from "../src/logic/insights.ts";
import { insight, T0 } from "./events.ts";

const acted = { decision: "acted", at: T0 } as const;

describe("merging", () => {
  test("each insight is there once, newest first, however it came and in whatever order", () => {
    const cached = [1, 2, 3].map((offset) => insight(offset, { delivery: "cached" }));
    const recovered = [3, 4].map((offset) => insight(offset, { delivery: "recovered" }));
    const live = [5, 6].map((offset) => insight(offset));
    const merged = newestFirst([...live, ...cached, ...recovered]);
    expect(merged.map(({ offset, delivery }) => `${offset} ${delivery}`)).toEqual([
      "6 live",
      "5 live",
      "4 recovered",
      "3 recovered",
      "2 cached",
      "1 cached",
    ]);
  });

  test("a new epoch of the log begins at low offsets again, and is newer all the same", () => {
    const before = insight(900, { createTime: new Date(T0) });
    const after = insight(2, { epoch: "e2", createTime: new Date(T0 + 60_000) });
    expect(newestFirst([before, after]).map(({ offset }) => offset)).toEqual([2n, 900n]);
  });
});

describe("the large one", () => {
  test("is the newest critical insight that is not decided", () => {
    const events = [insight(1), insight(2), insight(3), insight(4, { lane: "HIGH" })];
    expect(arrange(events, {}).hero?.offset).toBe(3n);
    expect(arrange(events, { "event-3": acted }).hero?.offset).toBe(2n);
    expect(arrange(events, { "event-3": acted, "event-2": acted, "event-1": acted }).hero?.offset).toBe(4n);
    const none = arrange([insight(1)], { "event-1": acted });
    expect(none.hero).toBeNull();
    expect(none.open).toBe(0);
    expect(none.all.length).toBe(1);
  });

  test("stays while somebody is at it, until it is decided", () => {
    const [shown, next] = [insight(1), insight(2)];
    expect(settle(shown, next, false, {})).toBe(next);
    expect(settle(shown, next, true, {})).toBe(shown);
    expect(settle(shown, next, true, { "event-1": acted })).toBe(next);
    expect(settle(null, next, true, {})).toBe(next);
    expect(settle(shown, null, false, {})).toBeNull();
  });
});

describe("words that carried the classification", () => {
  const strong = (text: string, terms: string[]) =>
    marked(text, terms)
      .filter((part) => part.strong)
      .map((part) => part.text);

  test("are marked whole, the longest first, and the text stays what it was", () => {
    const text = "I don't want them any more, not any.";
    expect(strong(text, ["any", "any more", "don't"])).toEqual(["don't", "any more", "any"]);
    expect(
      marked(text, ["any", "any more"])
        .map((part) => part.text)
        .join(""),
    ).toBe(text);
  });

  test("may hold anything", () => {
    expect(strong("what (a $5 price)?", ["(a $5", "price"])).toEqual(["(a $5", "price"]);
    expect(marked("plain", ["", " "])).toEqual([{ text: "plain", strong: false }]);
  });
});

describe("decisions", () => {
  class Shelf {
    kept: string | null = null;
    getItem = () => this.kept;
    setItem = (_key: string, value: string) => {
      this.kept = value;
    };
  }
  const on = (shelf: Shelf) => new Decisions(shelf as unknown as Storage);

  test("are there again after a reload, and can be undone", () => {
    const shelf = new Shelf();
    on(shelf).decide("a", "acted", 1);
    on(shelf).decide("b", "dismissed", 2);
    expect(on(shelf).all.get()).toEqual({
      a: { decision: "acted", at: 1 },
      b: { decision: "dismissed", at: 2 },
    });
    on(shelf).undo("a");
    expect(Object.keys(on(shelf).all.get())).toEqual(["b"]);
  });

  test("of long ago are forgotten, and a broken storage counts as empty", () => {
    const shelf = new Shelf();
    const decisions = on(shelf);
    for (let index = 0; index < 501; index += 1) decisions.decide(`id-${index}`, "acted", index);
    expect(Object.keys(on(shelf).all.get()).length).toBe(500);
    expect(on(shelf).all.get()["id-0"]).toBeUndefined();
    shelf.kept = "{broken";
    expect(on(shelf).all.get()).toEqual({});
    expect(new Decisions(null).all.get()).toEqual({});
  });
});
