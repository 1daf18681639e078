// Fails where the page or the SDK has grown past its budget. Sizes are gzipped bytes of what a reader downloads.

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
  { name: "@lanecast/client/sw", limit: 8 * KIB, measure: () => bundleSize("packages/client/dist/sw/index.js") },
  { name: "@lanecast/client/protobuf", limit: 26 * KIB, measure: () => bundleSize("packages/client/dist/protobuf.js") },
];

/** Everything in the folder is loaded at the start: the page has one view. */
function pageSize() {
  const files = readdirSync(PAGE, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, file) => sum + gzipSync(readFileSync(join(file.parentPath, file.name))).length, 0);
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
  const chunks = new Map(outputs.map((chunk) => [chunk.fileName, chunk]));
  const needed = new Set(outputs.filter((chunk) => chunk.isEntry).map(({ fileName }) => fileName));
  // What the entry imports at once is part of it; a set grows while it is walked.
  for (const name of needed) for (const imported of chunks.get(name)?.imports ?? []) needed.add(imported);
  const code = [...needed].map((name) => chunks.get(name)?.code ?? "").join("\n");
  return gzipSync(code).length;
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
