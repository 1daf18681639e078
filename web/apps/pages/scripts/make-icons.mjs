// Draws the icons that must be PNG from `public/icon.svg`, in the Chromium that the tests use. Run after a change of the
// drawing: `npm run icons -w @lanecast/pages`.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const PUBLIC = fileURLToPath(new URL("../public", import.meta.url));
/** A maskable icon may be cut to a circle: its drawing keeps to the middle four fifths, its ground fills the square. */
const ICONS = [
  { name: "icon-180.png", size: 180, scale: 0.86 },
  { name: "icon-192.png", size: 192, scale: 1 },
  { name: "icon-512.png", size: 512, scale: 1 },
  { name: "maskable.png", size: 512, scale: 0.72 },
];

const drawing = await readFile(join(PUBLIC, "icon.svg"), "utf8");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const page = await browser.newPage();
for (const { name, size, scale } of ICONS) {
  await page.setViewportSize({ width: size, height: size });
  const ground = scale < 1 ? "#0f172a" : "transparent";
  const side = Math.round(size * scale);
  await page.setContent(
    `<style>body{margin:0;display:grid;place-items:center;height:100vh;background:${ground}}svg{width:${side}px}</style>${drawing}`,
  );
  await page.screenshot({ path: join(PUBLIC, name), omitBackground: true });
}
await browser.close();
