// Drives a real Chromium for tests/e2e: reads one JSON command per line from standard input, writes one JSON answer per
// line to standard output, and closes the browser when the input ends. Screenshots go to the folder given as argument.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [, , results = "."] = process.argv;
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WAIT_MS = 15_000;

const profile = await mkdtemp(join(tmpdir(), "lanecast-page-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1440, height: 1000 },
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = context.pages()[0] ?? (await context.newPage());
page.setDefaultTimeout(WAIT_MS);

/** Whatever the page complains about. */
const complaints = [];
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) complaints.push(message.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));

const COMMANDS = {
  async open({ url }) {
    await page.goto(url);
    return page.title();
  },

  /** Waits until the page shows `text` at `selector`. */
  async waitText({ selector, text }) {
    await page.locator(selector, { hasText: text }).first().waitFor();
    return true;
  },

  async waitCount({ selector, count }) {
    await page.waitForFunction(([css, wanted]) => document.querySelectorAll(css).length >= wanted, [selector, count]);
    return page.locator(selector).count();
  },

  /** What each card says of its lane, kind and latency, newest first. */
  cards() {
    return page.locator("article.card").evaluateAll((cards) =>
      cards.map((card) => ({
        lane: card.dataset.lane,
        column: card.closest("section.lane")?.dataset.lane ?? null,
        type: card.dataset.type,
        delivery: card.dataset.delivery,
        headline: card.querySelector(".headline")?.textContent ?? "",
        latencyMs: Number(card.querySelector(".latency")?.dataset.ms ?? Number.NaN),
        latencyText: card.querySelector(".latency")?.textContent ?? "",
      })),
    );
  },

  text({ selector }) {
    return page.locator(selector).first().textContent();
  },

  async press({ key }) {
    await page.keyboard.press(key);
    return true;
  },

  async click({ selector }) {
    await page.locator(selector).first().click();
    return true;
  },

  async fill({ selector, text }) {
    await page.locator(selector).first().fill(text);
    return true;
  },

  /** What has the focus, in words. */
  focused() {
    return page.evaluate(() => {
      const element = document.activeElement;
      return element ? `${element.tagName.toLowerCase()} ${element.ariaLabel ?? element.textContent.trim()}` : "";
    });
  },

  async look({ scheme = "light", width = 1440, height = 1000, motion = "reduce" }) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: motion });
    await page.setViewportSize({ width, height });
    return true;
  },

  async screenshot({ name, full = false }) {
    await page.screenshot({ path: join(results, `${name}.png`), fullPage: full });
    return name;
  },

  /** Whether anything is wider than the window. */
  overflow() {
    return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  },

  /** Longest time the page's main thread was held, in milliseconds, over `ms`. */
  async longestTask({ ms }) {
    return page.evaluate(
      (time) =>
        new Promise((resolve) => {
          let longest = 0;
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) longest = Math.max(longest, entry.duration);
          }).observe({ type: "longtask" });
          setTimeout(() => resolve(longest), time);
        }),
      ms,
    );
  },

  complaints() {
    return complaints;
  },

  /** What axe finds wrong with the page as it is, one line for each rule and element. */
  async axe() {
    await page.evaluate(AXE);
    return page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
      return violations.flatMap(({ id, nodes }) =>
        nodes.map(({ target, failureSummary }) => `${id} ${target}: ${failureSummary}`),
      );
    });
  },

  /** The data attributes of every element at `selector`, in their order and of one moment. */
  data({ selector }) {
    return page.evaluate((css) => [...document.querySelectorAll(css)].map(({ dataset }) => ({ ...dataset })), selector);
  },

  async offline({ on }) {
    await context.setOffline(on);
    return on;
  },

  async reload() {
    await page.reload();
    return page.title();
  },

  /** Puts a value into what the page remembers. */
  async remember({ key, value }) {
    await page.evaluate(([name, text]) => localStorage.setItem(name, text), [key, JSON.stringify(value)]);
    return true;
  },

  /** Waits until a service worker is in charge of the page. */
  async waitWorker() {
    await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
    return true;
  },

  /** Waits until the device keeps `count` events of a user. */
  async waitKept({ user, count }) {
    await page.waitForFunction(
      ([name, wanted]) =>
        new Promise((resolve) => {
          const opened = indexedDB.open(name);
          opened.onsuccess = () => {
            const database = opened.result;
            const counted = database.transaction("events").objectStore("events").count();
            counted.onsuccess = () => {
              database.close();
              resolve(counted.result >= wanted);
            };
          };
        }),
      [`lanecast:${user}`, count],
    );
    return true;
  },

  isolated() {
    return page.evaluate(() => globalThis.crossOriginIsolated);
  },
};

async function answer(line) {
  try {
    const { command, ...rest } = JSON.parse(line);
    const run = COMMANDS[command];
    if (!run) throw new Error(`unknown command ${command}`);
    return { result: await run(rest) };
  } catch (error) {
    await page.screenshot({ path: join(results, "failure.png") }).catch(() => {});
    return { error: String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
await context.close();
await rm(profile, { recursive: true, force: true });
