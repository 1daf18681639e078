// Rollouts for tests, as the service would send them.

import type { RolloutJson } from "../src/data/types.ts";

export function makeRollout(fields: Partial<RolloutJson> = {}): RolloutJson {
  return {
    id: "r-1",
    plan: {
      baselinePolicy: "legacy-500ms",
      candidatePolicy: "default",
      stages: [10, 25, 50, 75, 100].map((percent) => ({ percent, minDuration: "10s", maxDuration: "600s" })),
      lookInterval: "2s",
    },
    state: "ROLLOUT_STATE_ANALYSING",
    holdReason: "HOLD_REASON_UNSPECIFIED",
    stageIndex: 1,
    exposureBasisPoints: 2_500,
    verdict: "VERDICT_INCONCLUSIVE",
    reason: "HIGH: the samples do not decide",
    version: "5",
    generation: "3",
    createTime: "2026-01-01T00:00:00Z",
    updateTime: new Date().toISOString(),
    results: [],
    legalVerbs: ["pause", "advance", "rollback"],
    missingAgents: [],
    soak: "4s",
    lanes: ["PRIORITY_HIGH"],
    attempt: 1,
    ...fields,
  };
}
