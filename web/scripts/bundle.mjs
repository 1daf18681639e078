// The gzipped size of what a reader downloads for a module, bundled as an application would. Used by the scripts that
// check and compare sizes.

import { gzipSync } from "node:zlib";
import { build } from "vite";

/** Bundles an entry, without what it loads later and without `external`; returns bytes after gzip. */
export async function bundledSize(root, entry, external = ["react"]) {
  const result = await build({
    configFile: false,
    logLevel: "silent",
    root,
    build: {
      write: false,
      target: "es2022",
      modulePreload: { polyfill: false },
      // Minified as in an application; the library mode would keep white space.
      rolldownOptions: { input: entry, preserveEntrySignatures: "strict", external },
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
