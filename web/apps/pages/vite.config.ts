// Builds the AI pages into the Python package that serves them, beside the dashboard, under `/pages/`. File names carry a
// hash of their content; nothing else in the output depends on when or where it was built.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "/pages/",
  resolve: { conditions: ["lanecast-source", "module", "browser", "development|production"] },
  build: {
    outDir: "../../../metrics_svc/static/pages",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    // The pages may load nothing but their own files, so nothing is inlined as a data: address.
    assetsInlineLimit: 0,
  },
});
