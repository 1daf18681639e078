// Fails where the page or the SDK has grown past its budget. Sizes are gzipped bytes of what a reader downloads, where not said otherwise.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const WEB = dirname(dirname(fileURLToPath(import.meta.url)));
const PAGE = join(WEB, "..", "metrics_svc", "static");
const KIB = 1024;

/** What is measured, and how much it may be. The protobuf runtime and its bootstrap are 20 KiB of the codec. */
const BUDGETS = [
  { name: "page, first load", limit: 130 * KIB, measure: pageSize },
  { name: "page, all of it, not packed", limit: 1.5 * KIB * KIB, measure: assetsSize },
  { name: "@lanecast/client", limit: 10 * KIB, measure: () => bundleSize("packages/client/dist/index.js") },
  {
    name: "@lanecast/client/react",
    limit: 2.5 * KIB,
    measure: () => bundleSize("packages/client/dist/react/index.js"),
  },
  {
    name: "@lanecast/client/offline",
    limit: 4 * KIB,
    measure: () => bundleSize("packages/client/dist/offline/index.js"),
  },
  { name: "@lanecast/client/protobuf", limit: 26 * KIB, measure: () => bundleSize("packages/client/dist/protobuf.js") },
];

/**
 * What a reader downloads before the first view is there: the page, what it names, what that imports, and the codec, which
 * the first connection asks for. The other views come when they are opened.
 */
function pageSize() {
  const page = readFileSync(join(PAGE, "index.html"), "utf8");
  const wanted = [...page.matchAll(/(?:src|href)="\/([^"]+)"/g)].map(([, path]) => path);
  wanted.push(
    ...readdirSync(join(PAGE, "assets")).flatMap((name) => (/^protobuf-/.test(name) ? [`assets/${name}`] : [])),
  );
  const seen = new Set(["index.html"]);
  for (let path = wanted.pop(); path !== undefined; path = wanted.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    if (!path.endsWith(".js")) continue;
    const text = readFileSync(join(PAGE, path), "utf8");
    for (const [, name] of text.matchAll(/(?:from|import)"\.\/([^"]+)"/g)) wanted.push(`assets/${name}`);
  }
  return [...seen].reduce((sum, path) => sum + gzipSync(readFileSync(join(PAGE, path))).length, 0);
}

/** Everything that the wheel carries for the page, as it lies on the disk. */
function assetsSize() {
  const files = readdirSync(PAGE, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, file) => sum + readFileSync(join(file.parentPath, file.name)).length, 0);
}

/** Bundles an entry as an application would, without what it loads later. */
async function bundleSize(entry) {
  const result = await build({
    configFile: false,
    logLevel: "silent",
    root: WEB,
    build: {
      write: false,
      target: "es2022",
      modulePreload: { polyfill: false },
      // Minified as in an application; the library mode would keep white space.
      rolldownOptions: { input: join(WEB, entry), preserveEntrySignatures: "strict", external: ["react"] },
    },
  });
  const outputs = (Array.isArray(result) ? result : [result]).flatMap(({ output }) => output);
  const main = outputs.find((chunk) => chunk.type === "chunk" && chunk.isEntry);
  return gzipSync(main.code).length;
}

let over = false;
for (const { name, limit, measure } of BUDGETS) {
  const size = await measure();
  const verdict = size <= limit ? "ok" : "OVER";
  over ||= size > limit;
  process.stdout.write(
    `${verdict.padEnd(5)}${name.padEnd(28)}${(size / KIB).toFixed(1).padStart(7)} of ${limit / KIB} KiB\n`,
  );
}
process.exit(over ? 1 : 0);
