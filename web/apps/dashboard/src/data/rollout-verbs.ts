// What an operator can ask of a rollout, in words, and how it is asked.

import { post } from "./api.ts";
import demoPlan from "./demo-plan.json";
import type { PlanJson, RolloutJson } from "./types.ts";
import { uuid } from "./uuid.ts";

export interface VerbWords {
  readonly label: string;
  /** What it does, said before it is confirmed. */
  readonly effect: (rollout: RolloutJson) => string;
  readonly danger: boolean;
  /** Whether the record needs a reason. */
  readonly reason: boolean;
  /** False: it makes things safer, and must not fail because something else has changed meanwhile. */
  readonly checksVersion: boolean;
}

const percent = (rollout: RolloutJson) => `${rollout.exposureBasisPoints / 100} %`;

export const VERBS: Readonly<Record<string, VerbWords>> = {
  start: {
    label: "Start",
    effect: ({ plan }) =>
      `First nothing changes: publishers confirm that they hear, and how things are is recorded. Then ${
        plan.stages?.[0]?.percent ?? 10
      } % of channels move from ${plan.baselinePolicy} to ${plan.candidatePolicy}.`,
    danger: false,
    reason: false,
    checksVersion: true,
  },
  pause: {
    label: "Pause",
    effect: (rollout) => `It stays at ${percent(rollout)}. Guardrails go on and still take it back where it harms.`,
    danger: false,
    reason: false,
    checksVersion: false,
  },
  resume: {
    label: "Resume",
    effect: () => "It goes on with the stage it was held in. Held time does not count as analysis.",
    danger: false,
    reason: false,
    checksVersion: true,
  },
  approve: {
    label: "Approve",
    effect: (rollout) => `It passes the gate and goes on from ${percent(rollout)} to the next stage.`,
    danger: false,
    reason: false,
    checksVersion: true,
  },
  advance: {
    label: "Advance without verdict",
    effect: (rollout) => `It goes on from ${percent(rollout)} without its verdict. That is recorded as an override.`,
    danger: true,
    reason: true,
    checksVersion: true,
  },
  rollback: {
    label: "Roll back",
    effect: ({ plan }) =>
      `All channels return to ${plan.baselinePolicy} at once. No event is lost, doubled or reordered by it.`,
    danger: true,
    reason: true,
    checksVersion: false,
  },
  cancel: {
    label: "Cancel",
    effect: () => "It ends here; no channel has been moved. It can be started again.",
    danger: true,
    reason: false,
    checksVersion: true,
  },
  retry: {
    label: "Start again",
    effect: ({ plan }) => `It begins again at its first stage, ${plan.stages?.[0]?.percent ?? 10} %.`,
    danger: false,
    reason: false,
    checksVersion: true,
  },
};

export interface Given {
  readonly actor: string;
  readonly reason: string;
}

/** Asks for a verb on the ground of what the operator saw. */
export async function ask(rollout: RolloutJson, verb: string, given: Given): Promise<RolloutJson> {
  const expectedVersion = VERBS[verb]?.checksVersion ? rollout.version : "0";
  const context = { ...given, requestId: uuid(), expectedVersion };
  return (await post<{ rollout: RolloutJson }>(`/rollouts/${rollout.id}/${verb}`, { context })).rollout;
}

export async function create(plan: PlanJson, given: Given): Promise<RolloutJson> {
  const body = { requestId: uuid(), plan, actor: given.actor };
  return (await post<{ rollout: RolloutJson }>("/rollouts", body)).rollout;
}

const PERCENTS = [10, 25, 50, 75, 100];

export type Pace = "demo" | "standard";

/** A plan with the paces that the page offers: `demo` is that of `lanecast rollout --preset demo`, to the letter. */
export function planOf(from: string, to: string, pace: Pace, gate: boolean, prove: boolean): PlanJson {
  const { benefitRatio, ...quick } = demoPlan;
  const standard = { stages: PERCENTS.map((percent) => ({ percent, minDuration: "60s", maxDuration: "3600s" })) };
  const plan = pace === "demo" ? quick : standard;
  return {
    ...plan,
    baselinePolicy: from,
    candidatePolicy: to,
    stages: plan.stages.map((each) => (gate && each.percent === 25 ? { ...each, gated: true } : each)),
    ...(prove ? { benefitRatio } : {}),
  };
}
