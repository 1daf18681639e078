// Fails where the page or the SDK has grown past its budget. Sizes are gzipped bytes of what a reader downloads.

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
  { name: "page, first load", limit: 130 * KIB, measure: () => folderSize(PAGE, (path) => !path.startsWith(PAGES)) },
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

/** Sums the files of a folder that count. What is loaded at the start is nearly all of it: no view is loaded later. */
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
