// What the service says besides figures, as it changes: the grade, alerts, rollouts. Fed by the stream of `metrics.ts`.

import { Store } from "@lanecast/shared/store";
import { get } from "./api.ts";
import { inFrame } from "./frames.ts";
import { name } from "./protojson.ts";
import type { AlertJson, PoliciesJson, RolloutJson, StatusJson } from "./types.ts";

export interface Listed<T> {
  /** By id. */
  readonly all: ReadonlyMap<string, T>;
  /** Whether the first answer has come. */
  readonly loaded: boolean;
}

const NOTHING = { all: new Map<string, never>(), loaded: false };

/** States that nothing but `retry` leaves. */
const OVER = new Set(["COMPLETED", "ROLLED_BACK", "CANCELLED"]);

export class Operations {
  readonly status = new Store<StatusJson | null>(null);
  readonly alerts = new Store<Listed<AlertJson>>(NOTHING);
  readonly rollouts = new Store<Listed<RolloutJson>>(NOTHING);
  readonly policies = new Store<PoliciesJson | null>(null);

  /** Asks for what was there before the stream began. */
  async load(): Promise<void> {
    const [alerts, rollouts, policies] = await Promise.all([
      get<{ alerts: AlertJson[] }>("/alerts?page_size=100"),
      get<{ rollouts: RolloutJson[] }>("/rollouts"),
      get<PoliciesJson>("/policies"),
    ]);
    this.alerts.set(merged(this.alerts.get(), alerts.alerts, () => false));
    this.rollouts.set(merged(this.rollouts.get(), rollouts.rollouts, isOlder));
    this.policies.set(policies);
  }

  async loadPolicies(): Promise<void> {
    this.policies.set(await get<PoliciesJson>("/policies"));
  }

  takeStatus(status: StatusJson): void {
    inFrame(this.status, () => this.status.set(status));
  }

  takeAlert(alert: AlertJson): void {
    this.#alerts.push(alert);
    inFrame(this.alerts, () => {
      const found = this.#alerts.splice(0);
      this.alerts.set({ ...merged(this.alerts.get(), found, () => false), loaded: this.alerts.get().loaded });
    });
  }

  takeRollout(rollout: RolloutJson): void {
    this.#rollouts.push(rollout);
    inFrame(this.rollouts, () => {
      const found = this.#rollouts.splice(0);
      this.rollouts.set({ ...merged(this.rollouts.get(), found, isOlder), loaded: this.rollouts.get().loaded });
    });
  }

  readonly #alerts: AlertJson[] = [];
  readonly #rollouts: RolloutJson[] = [];
}

function merged<T extends { readonly id: string }>(
  before: Listed<T>,
  news: readonly T[],
  older: (fresh: T, known: T) => boolean,
): Listed<T> {
  const all = new Map(before.all);
  for (const fresh of news) {
    const known = all.get(fresh.id);
    if (known === undefined || !older(fresh, known)) all.set(fresh.id, fresh);
  }
  return { all, loaded: true };
}

/** An answer may have been on its way while the stream brought something newer. */
function isOlder(fresh: RolloutJson, known: RolloutJson): boolean {
  return Number(fresh.version) < Number(known.version);
}

export function stateOf(rollout: RolloutJson): string {
  return name(rollout.state, "ROLLOUT_STATE_");
}

/** Newest first. */
export function newestFirst(rollouts: Iterable<RolloutJson>): RolloutJson[] {
  return [...rollouts].sort((a, b) => Date.parse(b.createTime) - Date.parse(a.createTime));
}

/** The rollout that is under way; null where there is none. */
export function underWay(rollouts: Iterable<RolloutJson>): RolloutJson | null {
  for (const rollout of rollouts) {
    const state = stateOf(rollout);
    if (state !== "DRAFT" && !OVER.has(state)) return rollout;
  }
  return null;
}

export function firing(alerts: Iterable<AlertJson>): AlertJson[] {
  return [...alerts].filter((alert) => alert.state === "ALERT_STATE_FIRING");
}
