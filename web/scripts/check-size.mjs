// Fails where the page or the SDK has grown past its budget. Sizes are gzipped bytes of what a reader downloads, where not said otherwise.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { bundledSize } from "./bundle.mjs";

const WEB = dirname(dirname(fileURLToPath(import.meta.url)));
const PAGE = join(WEB, "..", "metrics_svc", "static");
const KIB = 1024;

const PAGES = join(PAGE, "pages");
/** Loaded on demand, after the first view, or by the system that installs the pages. */
const NOT_FIRST = /(\.png|\.webmanifest|sw\.js)$/;

/**
 * What is measured, and how much it may be. The protobuf runtime and its bootstrap are 20 KiB of the codec. The React
 * entry is 1.6 KiB for the hooks of any channel and 0.8 KiB for those of the AI services, which a bundler leaves out where
 * they are not used; fewer than 2 KiB would need one of the two moved to an entry of its own, for no page that is smaller.
 */
const BUDGETS = [
  { name: "dashboard, first load", limit: 130 * KIB, measure: pageSize },
  { name: "AI pages, first load", limit: 130 * KIB, measure: () => folderSize(PAGES, (path) => !NOT_FIRST.test(path)) },
  { name: "AI pages, sw.js", limit: 8 * KIB, measure: () => folderSize(PAGES, (path) => path.endsWith("sw.js")) },
  { name: "all in the wheel, unpacked", limit: 1_500 * KIB, measure: () => folderSize(PAGE, () => true, asItIs) },
  { name: "@lanecast/client", limit: 10 * KIB, measure: () => bundled("packages/client/dist/index.js") },
  {
    name: "@lanecast/client/react",
    limit: 2.5 * KIB,
    measure: () => bundled("packages/client/dist/react/index.js"),
  },
  {
    name: "@lanecast/client/offline",
    limit: 4 * KIB,
    measure: () => bundled("packages/client/dist/offline/index.js"),
  },
  { name: "@lanecast/client/sw", limit: 8 * KIB, measure: () => bundled("packages/client/dist/sw/index.js") },
  { name: "@lanecast/client/protobuf", limit: 26 * KIB, measure: () => bundled("packages/client/dist/protobuf.js") },
];

/** The size of an entry of the SDK. */
function bundled(entry) {
  return bundledSize(WEB, join(WEB, entry));
}

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

/** Sums the files of a folder that count. */
function folderSize(folder, counts, packed = gzipSync) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files
    .map((file) => join(file.parentPath, file.name))
    .filter(counts)
    .reduce((sum, path) => sum + packed(readFileSync(path)).length, 0);
}

function asItIs(content) {
  return content;
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
