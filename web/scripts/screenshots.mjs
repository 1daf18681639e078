// Takes the pictures of the documentation from a running system:
//   node web/scripts/screenshots.mjs http://127.0.0.1:7480/ FOLDER [NAME…]
// Chromium is /usr/bin/chromium, or what CHROMIUM names. Without names all pictures are taken.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const DESK = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

/** What is opened and how; `ready` is what must be there before the picture is taken. */
const PICTURES = [
  { name: "live-light", view: "live", size: DESK, scheme: "light", ready: "article.card" },
  { name: "live-dark", view: "live", size: DESK, scheme: "dark", ready: "article.card" },
  { name: "live-phone", view: "live", size: PHONE, scheme: "light", ready: "article.card" },
  { name: "health-light", view: "health", size: DESK, scheme: "light", ready: ".strip-lane .figure, .u-over" },
  { name: "health-dark", view: "health", size: DESK, scheme: "dark", ready: ".u-over" },
  { name: "health-phone", view: "health", size: PHONE, scheme: "light", ready: ".u-over" },
  { name: "rollout-light", view: "rollouts", size: DESK, scheme: "light", ready: "[data-testid=rollout]" },
  { name: "rollout-dark", view: "rollouts", size: DESK, scheme: "dark", ready: "[data-testid=rollout]" },
  { name: "rollout-phone", view: "rollouts", size: PHONE, scheme: "dark", ready: "[data-testid=rollout]" },
  { name: "alerts-light", view: "alerts", size: DESK, scheme: "light", ready: ".panel" },
  { name: "alerts-phone", view: "alerts", size: PHONE, scheme: "dark", ready: ".panel" },
  { name: "tests-light", view: "tests", size: DESK, scheme: "light", ready: ".panel" },
];

const [, , url, folder, ...names] = process.argv;
if (!url || !folder) {
  process.stderr.write("usage: node web/scripts/screenshots.mjs http://127.0.0.1:7480/ FOLDER [NAME…]\n");
  process.exit(2);
}
await mkdir(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const page = await browser.newPage();
  await page.goto(url);
  for (const { name, view, size, scheme, ready } of PICTURES) {
    if (names.length > 0 && !names.includes(name)) continue;
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.goto(`${url}#/${view}`);
    await page.locator(ready).first().waitFor();
    await page.locator("[data-testid=connection]", { hasText: "Connected" }).waitFor();
    await page.waitForTimeout(2_500); // figures come once a second, the grade every five
    await page.screenshot({ path: join(folder, `${name}.png`), fullPage: process.env.FULL === "1" });
    process.stdout.write(`${join(folder, name)}.png\n`);
  }
} finally {
  await browser.close();
}
