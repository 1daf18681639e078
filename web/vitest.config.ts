import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["lanecast-source"] },
  test: {
    include: ["packages/*/tests/**/*.test.{ts,tsx}", "apps/*/tests/**/*.test.{ts,tsx}"],
    restoreMocks: true,
  },
});
