// Above the events: which policy they are delivered by, and the one button that moves them to the newer one.

import { useStore } from "@lanecast/shared/store";
import { lazy, Suspense, useState } from "react";
import { newestFirst, stateOf, underWay } from "../data/operations.ts";
import type { RolloutJson } from "../data/types.ts";
import type { Live } from "../live.ts";
import { address, go } from "../router.ts";
import { words } from "../words.ts";

const CreateDialog = lazy(() => import("../panels/rollout/create.tsx"));
const VerbDialog = lazy(() => import("../panels/rollout/verb-dialog.tsx"));

/** The migration that most installations begin with. */
export const MIGRATION = { from: "legacy-500ms", to: "default" } as const;

export function RolloutStrip({ live }: { live: Live }) {
  const { all } = useStore(live.operations.rollouts);
  const policies = useStore(live.operations.policies);
  const [open, setOpen] = useState(false);
  const active = underWay(all.values());
  if (active) return <UnderWay rollout={active} />;
  const inForce = policies?.inForce ?? [];
  const draft = newestFirst(all.values()).find(
    (each) => stateOf(each) === "DRAFT" && inForce.includes(each.plan.baselinePolicy),
  );
  const slow = inForce.includes(MIGRATION.from);
  if (!slow && !draft) return null;
  const from = draft?.plan.baselinePolicy ?? MIGRATION.from;
  const to = draft?.plan.candidatePolicy ?? MIGRATION.to;
  const started = (rollout: RolloutJson) => go("rollouts", rollout.id);
  return (
    <aside className="strip" aria-label="Delivery policy">
      <p>
        Events are delivered by <strong>{from}</strong>
        {slow ? ": in bundles, twice a second." : "."}{" "}
        <span className="muted">
          {draft ? `A rollout is prepared${draft.reason ? `: ${draft.reason}` : ""}.` : "Move them by stages."}
          {!draft?.reason && " What harms is taken back by itself."}
        </span>
      </p>
      <button
        type="button"
        className={slow ? "primary" : ""}
        data-testid="migrate"
        data-draft={draft !== undefined}
        onClick={() => setOpen(true)}
      >
        {slow ? "Migrate" : "Try"} {from} <span aria-hidden="true">→</span>
        <span className="visually-hidden">to</span> {to}
      </button>
      {open && (
        <Suspense>
          {draft ? (
            <VerbDialog rollout={draft} verb="start" live={live} onClose={() => setOpen(false)} onDone={started} />
          ) : (
            <CreateDialog live={live} prefill={MIGRATION} onClose={() => setOpen(false)} onDone={started} />
          )}
        </Suspense>
      )}
    </aside>
  );
}

function UnderWay({ rollout }: { rollout: RolloutJson }) {
  const { plan, exposureBasisPoints } = rollout;
  const share = exposureBasisPoints / 100;
  return (
    <aside className="strip" aria-label="Rollout under way">
      <p>
        <strong>
          {plan.baselinePolicy} <span aria-hidden="true">→</span>
          <span className="visually-hidden">to</span> {plan.candidatePolicy}
        </strong>
        : {share} % of channels, {words(stateOf(rollout))}
        <span className="muted"> {rollout.reason}</span>
      </p>
      <span className="meter" aria-hidden="true">
        <span style={{ width: `${share}%` }} />
      </span>
      <a className="button" href={address("rollouts", rollout.id)}>
        Open the rollout
      </a>
    </aside>
  );
}
