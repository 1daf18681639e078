// Prints the gzipped sizes of the SDK's entries beside those of other clients for realtime servers, all bundled with the
// same settings. The others are installed into a folder of their own for the moment: they are no dependencies. Run it
// after a build: `node scripts/compare-sizes.mjs`.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundledSize } from "./bundle.mjs";

const WEB = dirname(dirname(fileURLToPath(import.meta.url)));
const DIST = join(WEB, "packages", "client", "dist");
/** What a page imports from each. */
const OTHERS = [
  { module: "centrifuge", code: 'export { Centrifuge } from "centrifuge";' },
  {
    module: "centrifuge",
    path: "centrifuge/build/protobuf",
    code: 'export { Centrifuge } from "centrifuge/build/protobuf";',
  },
  { module: "ably", code: 'export { Realtime } from "ably";' },
  { module: "socket.io-client", code: 'export { io } from "socket.io-client";' },
  { module: "partysocket", code: 'export { WebSocket } from "partysocket";' },
];

const row = (name, version, bytes) =>
  process.stdout.write(`| ${name.padEnd(40)} | ${version.padEnd(8)} | ${(bytes / 1024).toFixed(1).padStart(5)} |\n`);

const { version } = JSON.parse(readFileSync(join(WEB, "packages", "client", "package.json"), "utf8"));
process.stdout.write(`| ${"module".padEnd(40)} | version  | KiB   |\n| ${"-".repeat(40)} | -------- | ----: |\n`);
for (const entry of ["index", "protobuf", "json", "react/index", "offline/index", "sw/index"]) {
  const name = `@lanecast/client/${entry}`.replace(/\/?index$/, "");
  row(
    entry === "json" ? "its JSON codec, loaded when it is used" : name,
    version,
    await bundledSize(WEB, join(DIST, `${entry}.js`)),
  );
}

const folder = mkdtempSync(join(tmpdir(), "lanecast-sizes-"));
try {
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }');
  const names = [...new Set(OTHERS.map(({ module }) => module))];
  const quiet = ["--no-audit", "--no-fund", "--silent", "--ignore-scripts"];
  execFileSync("npm", ["install", ...quiet, ...names], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  for (const [index, { module, path = module, code }] of OTHERS.entries()) {
    const entry = join(folder, `entry-${index}.js`);
    writeFileSync(entry, code);
    const installed = JSON.parse(readFileSync(join(folder, "node_modules", module, "package.json"), "utf8"));
    row(path, installed.version, await bundledSize(folder, entry, []));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
