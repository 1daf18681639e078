// Who is on the new policy, and is it safe: the rollouts, and one of them in full.

import { useStore } from "@lanecast/shared/store";
import { useState } from "react";
import { access } from "../access.ts";
import { Panel } from "../components/panel.tsx";
import { MIGRATION } from "../components/rollout-strip.tsx";
import { newestFirst, stateOf, underWay } from "../data/operations.ts";
import { time } from "../data/protojson.ts";
import type { RolloutJson } from "../data/types.ts";
import type { Live } from "../live.ts";
import { address, go, useRoute } from "../router.ts";
import { moment, words } from "../words.ts";
import CreateDialog from "./rollout/create.tsx";
import { Detail } from "./rollout/detail.tsx";
import { StateMark } from "./rollout/state-mark.tsx";
import "../styles/rollouts.css";

export default function Rollouts({ live }: { live: Live }) {
  const { all, loaded } = useStore(live.operations.rollouts);
  const { item } = useRoute();
  const rollouts = newestFirst(all.values());
  const shown = all.get(item) ?? underWay(all.values()) ?? rollouts[0] ?? null;
  return (
    <div className="rollouts">
      <List live={live} rollouts={rollouts} shown={shown} loaded={loaded} />
      {shown && <Detail key={shown.id} rollout={shown} live={live} />}
    </div>
  );
}

interface ListProps {
  readonly live: Live;
  readonly rollouts: readonly RolloutJson[];
  readonly shown: RolloutJson | null;
  readonly loaded: boolean;
}

function List({ live, rollouts, shown, loaded }: ListProps) {
  const policies = useStore(live.operations.policies);
  const { role, why } = useStore(access);
  const [open, setOpen] = useState(false);
  const inForce = policies?.inForce ?? [];
  const from = inForce[0] ?? MIGRATION.from;
  const to = policies?.policies.find(({ name }) => name !== from)?.name ?? MIGRATION.to;
  const empty = loaded
    ? ({ kind: "empty", text: "No rollout yet: start one, and channels move by stages to another policy." } as const)
    : ({ kind: "loading", text: "Asking for rollouts." } as const);
  return (
    <Panel
      title="Rollouts"
      question="Who is on the new policy, and is it safe?"
      className="rollout-list"
      notice={rollouts.length === 0 ? empty : null}
      actions={
        <>
          <button type="button" className="small" disabled={role === "reader"} onClick={() => setOpen(true)}>
            New rollout
          </button>
          {open && (
            <CreateDialog
              live={live}
              prefill={{ from, to }}
              onClose={() => setOpen(false)}
              onDone={(rollout) => go("rollouts", rollout.id)}
            />
          )}
        </>
      }
    >
      <p className="in-force">
        In force: <strong>{inForce.length > 0 ? inForce.join(", ") : "unknown"}</strong>
        {role === "reader" && (
          <span className="muted">
            <br />
            Read only: {why}
          </span>
        )}
      </p>
      <ul className="picks">
        {rollouts.map((rollout) => (
          <li key={rollout.id}>
            <a href={address("rollouts", rollout.id)} aria-current={rollout === shown ? "true" : undefined}>
              <span className="pick-title">
                {rollout.plan.baselinePolicy} <span aria-hidden="true">→</span> {rollout.plan.candidatePolicy}
              </span>
              <StateMark state={stateOf(rollout)} />
              <span className="muted">{moment(time(rollout.createTime))}</span>
              <span className="muted figure">{rollout.exposureBasisPoints / 100} %</span>
              <span className="visually-hidden">{words(stateOf(rollout))}</span>
            </a>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
