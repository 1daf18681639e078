// Bundles the service worker of an app that is built already: `--entry` is its source, `--out` the folder with the built
// app, where `sw.js` is written. Every file there becomes part of the shell, the page first; the version is a hash of all
// of them. Maps and earlier workers are left out; so is what `--exclude` names, a regular expression on the path.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { build } from "vite";

const { values } = parseArgs({
  options: {
    entry: { type: "string" },
    out: { type: "string" },
    exclude: { type: "string", default: "$^" },
    page: { type: "string", default: "index.html" },
  },
});
if (!values.entry || !values.out) {
  process.stderr.write(
    "usage: node build-worker.mjs --entry src/sw.ts --out dist [--page index.html] [--exclude REGEX]\n",
  );
  process.exit(2);
}

const out = resolve(values.out);
const excluded = new RegExp(values.exclude);
const files = readdirSync(out, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(out, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
  .filter((path) => path !== "sw.js" && path !== values.page && !path.endsWith(".map") && !excluded.test(path))
  .sort();

const hash = createHash("sha256");
for (const path of [values.page, ...files])
  hash
    .update(path)
    .update("\0")
    .update(readFileSync(join(out, path)));

await build({
  configFile: false,
  logLevel: "warn",
  resolve: { conditions: ["lanecast-source", "module", "browser", "development|production"] },
  define: {
    // A folder's own address is that of its page.
    __LANECAST_SHELL__: JSON.stringify([values.page === "index.html" ? "./" : values.page, ...files]),
    __LANECAST_VERSION__: JSON.stringify(hash.digest("hex").slice(0, 16)),
  },
  build: {
    outDir: out,
    emptyOutDir: false,
    copyPublicDir: false,
    target: "es2022",
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: resolve(values.entry),
      // Classic: Firefox runs workers that are modules only in its newest versions.
      output: { format: "iife", entryFileNames: "sw.js" },
    },
  },
});
