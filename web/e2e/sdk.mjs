// Drives the SDK's page under test in a real Chromium: reads one JSON command per line from standard input, writes one
// JSON answer per line to standard output, and closes the browser when the input ends. Arguments: a folder for what it
// builds, the port of the page, the port of the proxy, the port of the gateway.

import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium, devices } from "playwright-core";
import { build } from "vite";
import { gatewayProxy, pageServer } from "./server.mjs";

const WAIT_MS = 15_000;
const PAUSE_MS = 20;
const HERE = dirname(fileURLToPath(import.meta.url));
const [, , folder, pagePort, proxyPort, gatewayPort] = process.argv;
const state = { token: null, tokensServed: 0, webSockets: true, polls: 0 };

await build({
  configFile: false,
  logLevel: "warn",
  root: join(HERE, "site"),
  resolve: { conditions: ["lanecast-source", "module", "browser", "development|production"] },
  build: {
    outDir: folder,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ["index.html", "other.html", "load.html"].map((name) => join(HERE, "site", name)) },
  },
});
const bundler = join(HERE, "..", "scripts", "build-worker.mjs");
const bundleArguments = ["--entry", join(HERE, "site", "sw.ts"), "--out", folder];
await promisify(execFile)(process.execPath, [bundler, ...bundleArguments]);

const site = pageServer(folder, Number(pagePort), state);
const proxy = gatewayProxy(Number(proxyPort), Number(gatewayPort), state);
await Promise.all([site.open(), proxy.open()]);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  // Playwright switches off what keeps pages for "back"; that is what is tested here.
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
  ],
});

let context = null;
let page = null;
/** CDP of the page. */
let devtools = null;
let sockets = 0;
let complaints = [];

const COMMANDS = {
  /** A browser of its own: nothing is left of the page before. */
  async fresh({ device = null }) {
    await context?.close();
    context = await browser.newContext(device ? devices[device] : {});
    context.setDefaultTimeout(WAIT_MS);
    page = await context.newPage();
    devtools = await context.newCDPSession(page);
    sockets = 0;
    complaints = [];
    page.on("websocket", () => {
      sockets += 1;
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    return true;
  },

  async open({ path = "/" }) {
    await page.goto(`http://127.0.0.1:${pagePort}${path}`, { waitUntil: "load" });
    return page.title();
  },

  async start({ setup }) {
    const url = `ws://127.0.0.1:${proxyPort}/v1/ws`;
    await page.evaluate((given) => globalThis.harness.start(given), { url, ...setup });
    return true;
  },

  async load({ channels, every }) {
    const url = `ws://127.0.0.1:${proxyPort}/v1/ws`;
    await page.evaluate(([...given]) => globalThis.load.start(...given), [url, channels, every]);
    return true;
  },

  async restart() {
    await page.evaluate(() => globalThis.harness.restart());
    return true;
  },

  /** The value of an expression in the page; promises are waited for. */
  evaluate: ({ expression }) => page.evaluate(expression),

  /** Waits until an expression is true in the page, or a promise that is resolved to true. */
  async wait({ expression }) {
    const deadline = Date.now() + WAIT_MS;
    for (let last = null; ; ) {
      try {
        last = await page.evaluate(expression);
        if (last) return true;
      } catch (error) {
        last = error; // the page may be on its way to another one
      }
      if (Date.now() + PAUSE_MS >= deadline) throw new Error(`not true in time: ${expression}; last: ${last}`);
      await page.waitForTimeout(PAUSE_MS);
    }
  },

  async reload() {
    await page.reload({ waitUntil: "load" });
    return true;
  },

  async back() {
    await page.goBack({ waitUntil: "commit" });
    return true;
  },

  async token({ token }) {
    state.token = token;
    return state.tokensServed;
  },

  counts: () => ({ ...state, token: undefined, sockets }),

  webSockets({ allowed }) {
    state.webSockets = allowed;
    return true;
  },

  /** Takes the network away from the page, its worker and its servers, or gives it back. */
  async network({ on }) {
    if (on) await Promise.all([site.open(), proxy.open()]);
    await context.setOffline(!on);
    if (!on) await Promise.all([site.cut(), proxy.cut()]);
    return true;
  },

  /** Freezes the page as a phone does with what is in the background, or lets it run on. */
  async lifecycle({ frozen }) {
    await devtools.send("Page.setWebLifecycleState", { state: frozen ? "frozen" : "active" });
    return true;
  },

  /** Has the page believe that another one is in front of it. Without a screen nothing ever is. */
  async background({ hidden }) {
    await page.evaluate(
      (state) => {
        Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
        document.dispatchEvent(new Event("visibilitychange"));
      },
      hidden ? "hidden" : "visible",
    );
    return true;
  },

  async throttle({ rate }) {
    await devtools.send("Emulation.setCPUThrottlingRate", { rate });
    return true;
  },

  /** Wakes the service worker as the browser's background sync would. */
  async sync({ tag }) {
    const session = await context.newCDPSession(page);
    const found = new Promise((resolve) => {
      session.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
        const [registration] = registrations.filter(({ isDeleted }) => !isDeleted);
        if (registration) resolve(registration.registrationId);
      });
    });
    await session.send("ServiceWorker.enable");
    const registrationId = await found;
    const origin = `http://127.0.0.1:${pagePort}`;
    await session.send("ServiceWorker.dispatchSyncEvent", { origin, registrationId, tag, lastChance: false });
    await session.detach();
    return true;
  },

  async heap() {
    await devtools.send("HeapProfiler.collectGarbage");
    const { usedSize } = await devtools.send("Runtime.getHeapUsage");
    return usedSize;
  },

  complaints: () => complaints,
};

async function answer(line) {
  try {
    const { command, ...rest } = JSON.parse(line);
    const run = COMMANDS[command];
    if (!run) throw new Error(`unknown command ${command}`);
    return { result: (await run(rest)) ?? null };
  } catch (error) {
    return { error: String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
await browser.close();
await Promise.all([site.cut(), proxy.cut()]);
