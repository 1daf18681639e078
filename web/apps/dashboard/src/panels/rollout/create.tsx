// A new rollout: from which policy to which, how fast, and whether the traffic is enough to judge it.

import { useStore } from "@lanecast/shared/store";
import { useEffect, useState } from "react";
import { noteAllowed, noteRefusal } from "../../access.ts";
import { announce } from "../../announce.ts";
import { Dialog } from "../../components/dialog.tsx";
import { explain, post } from "../../data/api.ts";
import { seconds } from "../../data/protojson.ts";
import { ask, create, type Pace, planOf } from "../../data/rollout-verbs.ts";
import type { PlanJson, RolloutJson, ValidationJson } from "../../data/types.ts";
import type { Live } from "../../live.ts";
import { span } from "../../words.ts";

interface CreateDialogProps {
  readonly live: Live;
  readonly prefill: { readonly from: string; readonly to: string };
  readonly onClose: () => void;
  readonly onDone: (rollout: RolloutJson) => void;
}

export default function CreateDialog({ live, prefill, onClose, onDone }: CreateDialogProps) {
  const policies = useStore(live.operations.policies)?.policies.map(({ name }) => name) ?? [];
  const [from, setFrom] = useState(prefill.from);
  const [to, setTo] = useState(prefill.to);
  const [pace, setPace] = useState<Pace>("demo");
  const [gate, setGate] = useState(false);
  const [prove, setProve] = useState(prefill.from.startsWith("legacy"));
  const [start, setStart] = useState(true);
  const plan = planOf(from, to, pace, gate, prove);
  return (
    <Dialog
      title="New rollout"
      confirm={start ? "Create and start" : "Create draft"}
      onClose={onClose}
      onConfirm={async (given) => {
        const made = await create(plan, given);
        live.operations.takeRollout(made);
        const rollout = start ? await ask(made, "start", given) : made;
        live.operations.takeRollout(rollout);
        announce(start ? "The rollout has started" : "The draft is stored");
        onDone(rollout);
      }}
    >
      <div className="field-row">
        <PolicyField label="From the policy" value={from} names={policies} onChange={setFrom} />
        <PolicyField label="To the policy" value={to} names={policies} onChange={setTo} />
      </div>
      <fieldset className="choices">
        <legend>Pace</legend>
        <label>
          <input type="radio" name="pace" checked={pace === "demo"} onChange={() => setPace("demo")} />
          <span>
            Demo <span className="muted">10 s a stage, a look each 2 s</span>
          </span>
        </label>
        <label>
          <input type="radio" name="pace" checked={pace === "standard"} onChange={() => setPace("standard")} />
          <span>
            Standard <span className="muted">1 min a stage, then 5 min of watching</span>
          </span>
        </label>
      </fieldset>
      <fieldset className="choices">
        <legend>Rules</legend>
        <Check checked={prove} onChange={setProve} label="The new policy must be proved twice as fast before 50 %" />
        <Check checked={gate} onChange={setGate} label="Ask a person after 25 %" />
        <Check checked={start} onChange={setStart} label="Start at once" />
      </fieldset>
      <Needs plan={plan} />
    </Dialog>
  );
}

interface PolicyFieldProps {
  readonly label: string;
  readonly value: string;
  readonly names: readonly string[];
  readonly onChange: (name: string) => void;
}

function PolicyField({ label, value, names, onChange }: PolicyFieldProps) {
  const all = names.includes(value) ? names : [value, ...names];
  return (
    <label className="field">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {all.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

interface CheckProps {
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
  readonly label: string;
}

function Check({ checked, onChange, label }: CheckProps) {
  return (
    <label>
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.target.checked)} />
      <span>{label}</span>
    </label>
  );
}

/** What the service says that the plan needs; it changes nothing. */
function Needs({ plan }: { plan: PlanJson }) {
  const [answer, setAnswer] = useState<{ found: ValidationJson | null; problem: string }>({ found: null, problem: "" });
  const text = JSON.stringify(plan);
  useEffect(() => {
    let current = true;
    post<ValidationJson>("/rollouts/validate", { plan: JSON.parse(text) })
      .then((found) => {
        noteAllowed();
        if (current) setAnswer({ found, problem: "" });
      })
      .catch((error: unknown) => {
        noteRefusal(error);
        if (current) setAnswer({ found: null, problem: explain(error) });
      });
    return () => {
      current = false;
    };
  }, [text]);
  const { found, problem } = answer;
  if (problem) {
    return (
      <p className="notice" data-kind="error">
        <span aria-hidden="true">✕</span> {problem}
      </p>
    );
  }
  if (!found) return <p className="notice">… Asking what it needs</p>;
  if (found.problems.length > 0) {
    return (
      <ul className="notice" data-kind="stale">
        {found.problems.map((each) => (
          <li key={each}>
            <span aria-hidden="true">◐</span> {each}
          </li>
        ))}
      </ul>
    );
  }
  const total = found.stages.reduce((sum, { expectedDuration }) => sum + seconds(expectedDuration), 0);
  const first = found.stages[0];
  return (
    <p className="notice" data-kind="ok">
      <span aria-hidden="true">✓</span> The traffic is enough: {first?.channelsActive} channels in the first stage,{" "}
      {first?.channelsNeeded} are needed. About {span(total)} in all.
    </p>
  );
}
