import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["lanecast-source"] },
  test: {
    include: ["packages/*/tests/**/*.test.{ts,tsx}", "shared/tests/**/*.test.ts", "apps/*/tests/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
