// @vitest-environment jsdom
// The choice of colours: kept in the browser, put on the page, and told to whoever watches.

import { beforeEach, expect, test, vi } from "vitest";

const shown = () => document.documentElement.dataset.theme;

/** The module as a page finds it that has just been opened. */
async function opened() {
  vi.resetModules();
  return import("../theme.ts");
}

beforeEach(() => {
  localStorage.clear();
  delete document.documentElement.dataset.theme;
});

test("goes from the system's colours to light, dark and back, and tells each", async () => {
  const { nextTheme, theme } = await opened();
  const told: string[] = [];
  theme.subscribe(() => told.push(theme.get()));
  expect(shown()).toBeUndefined();
  nextTheme();
  expect(shown()).toBe("light");
  nextTheme();
  expect(shown()).toBe("dark");
  nextTheme();
  expect(shown()).toBeUndefined();
  expect(told).toEqual(["light", "dark", "system"]);
});

test("a page that is opened later has the choice of the one before", async () => {
  (await opened()).nextTheme();
  delete document.documentElement.dataset.theme;
  expect((await opened()).theme.get()).toBe("light");
  expect(shown()).toBe("light");
});

test("what is kept but no choice is the system's", async () => {
  localStorage.setItem("lanecast.theme", "sepia");
  expect((await opened()).theme.get()).toBe("system");
  expect(shown()).toBeUndefined();
});

test("a browser that stores nothing still shows the choice", async () => {
  const refuse = () => {
    throw new DOMException("storage is off", "SecurityError");
  };
  vi.spyOn(Storage.prototype, "getItem").mockImplementation(refuse);
  vi.spyOn(Storage.prototype, "setItem").mockImplementation(refuse);
  const { nextTheme, theme } = await opened();
  expect(theme.get()).toBe("system");
  nextTheme();
  expect(shown()).toBe("light");
});
