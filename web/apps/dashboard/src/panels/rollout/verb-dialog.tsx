// Asks before a verb is sent: what it does, why it is wanted, who wants it, and on the ground of what.

import { useStore } from "@lanecast/shared/store";
import { announce } from "../../announce.ts";
import { Dialog } from "../../components/dialog.tsx";
import { stateOf } from "../../data/operations.ts";
import { ask, VERBS } from "../../data/rollout-verbs.ts";
import type { RolloutJson } from "../../data/types.ts";
import type { Live } from "../../live.ts";
import { words } from "../../words.ts";

interface VerbDialogProps {
  readonly rollout: RolloutJson;
  readonly verb: string;
  readonly live: Live;
  readonly onClose: () => void;
  readonly onDone?: (rollout: RolloutJson) => void;
}

export default function VerbDialog({ rollout: opened, verb, live, onClose, onDone }: VerbDialogProps) {
  // What is decided on is what is shown: the dialog follows the rollout while it is open.
  const rollout = useStore(live.operations.rollouts).all.get(opened.id) ?? opened;
  const about = VERBS[verb];
  if (!about) return null;
  const legal = rollout.legalVerbs.includes(verb);
  const { plan } = rollout;
  return (
    <Dialog
      title={`${about.label}: ${plan.baselinePolicy} → ${plan.candidatePolicy}`}
      confirm={about.label}
      danger={about.danger}
      reasonRequired={about.reason}
      disabled={!legal}
      onClose={onClose}
      onConfirm={async (given) => {
        const changed = await ask(rollout, verb, given);
        live.operations.takeRollout(changed);
        announce(`${about.label} was asked for; the rollout is ${words(stateOf(changed))}`);
        onDone?.(changed);
      }}
    >
      <p>{about.effect(rollout)}</p>
      <p className="muted">
        Now: {words(stateOf(rollout))}, {rollout.exposureBasisPoints / 100} % of channels, version {rollout.version}.
      </p>
      {!legal && (
        <p className="notice" data-kind="stale">
          <span aria-hidden="true">◐</span> The rollout has moved on and does not allow this any more
          {rollout.legalVerbs.length > 0 && `: ${rollout.legalVerbs.join(", ")} are left`}.
        </p>
      )}
    </Dialog>
  );
}
