// One rollout: where it stands, what may be done, what the rules say of both arms, and what has happened.

import { useStore } from "@lanecast/shared/store";
import { useState } from "react";
import { access } from "../../access.ts";
import { API } from "../../data/api.ts";
import { stateOf } from "../../data/operations.ts";
import { name, seconds, time } from "../../data/protojson.ts";
import { VERBS } from "../../data/rollout-verbs.ts";
import type { RolloutJson } from "../../data/types.ts";
import type { Live } from "../../live.ts";
import { useNow } from "../../now.ts";
import { span, words } from "../../words.ts";
import { Arms } from "./arms.tsx";
import { History } from "./history.tsx";
import { Rules } from "./rules.tsx";
import { StateMark, VerdictMark } from "./state-mark.tsx";
import VerbDialog from "./verb-dialog.tsx";

/** The plan's own time between looks where it names none. */
const LOOK_SECONDS = 5;

export function Detail({ rollout, live }: { rollout: RolloutJson; live: Live }) {
  const { plan } = rollout;
  const state = stateOf(rollout);
  return (
    <div className="rollout-detail" data-testid="rollout" data-state={state}>
      <section className="panel" aria-labelledby="rollout-title">
        <header className="rollout-head">
          <div>
            <h2 id="rollout-title">
              {plan.baselinePolicy} <span aria-hidden="true">→</span>
              <span className="visually-hidden">to</span> {plan.candidatePolicy}
            </h2>
            <p className="question">
              {rollout.id} · version {rollout.version}
              {rollout.attempt > 1 && ` · attempt ${rollout.attempt}`}
            </p>
          </div>
          <div className="rollout-state">
            <StateMark state={state} />
            {rollout.holdReason !== "HOLD_REASON_UNSPECIFIED" && (
              <span className="muted">{words(name(rollout.holdReason, "HOLD_REASON_"))}</span>
            )}
          </div>
        </header>
        <Stages rollout={rollout} />
        <Standing rollout={rollout} />
        <Verbs rollout={rollout} live={live} />
      </section>
      <Rules rollout={rollout} />
      <Arms rollout={rollout} />
      <History rollout={rollout} />
    </div>
  );
}

/** The stages as steps; the bar is as long as the share of channels on the candidate. */
function Stages({ rollout }: { rollout: RolloutJson }) {
  const state = stateOf(rollout);
  const share = rollout.exposureBasisPoints / 100;
  return (
    <div className="stages">
      <p className="exposure">
        <strong data-testid="exposure">{share} %</strong> of channels on {rollout.plan.candidatePolicy}
      </p>
      <ol>
        {(rollout.plan.stages ?? []).map(({ percent, gated }, index) => {
          const done = state === "COMPLETED" || (share > 0 && index < rollout.stageIndex);
          const current = !done && share > 0 && index === rollout.stageIndex;
          return (
            <li key={percent} data-done={done} aria-current={current ? "step" : undefined}>
              <span aria-hidden="true">{done ? "✓" : current ? "●" : "○"}</span> {percent} %
              {gated && (
                <span className="muted" title="A person is asked after it">
                  {" "}
                  ⏸<span className="visually-hidden"> then a person is asked</span>
                </span>
              )}
            </li>
          );
        })}
      </ol>
      <div className="exposure-bar" role="img" aria-label={`${share} % of channels on the new policy`}>
        <span style={{ width: `${share}%` }} />
      </div>
    </div>
  );
}

const LOOKING = new Set(["STARTING", "PROPAGATING", "SETTLING", "ANALYSING", "GATED", "BAKING", "HELD"]);

/** The verdict, its reason, and when there will be more to say. */
function Standing({ rollout }: { rollout: RolloutJson }) {
  const now = useNow();
  const state = stateOf(rollout);
  const { plan } = rollout;
  const every = seconds(plan.lookInterval) || LOOK_SECONDS;
  const next = (time(rollout.updateTime) ?? now) / 1_000 + every - now / 1_000;
  const least = seconds(state === "BAKING" ? plan.bakeDuration : plan.stages?.[rollout.stageIndex]?.minDuration);
  return (
    <dl className="standing">
      <div>
        <dt>Verdict</dt>
        <dd data-testid="verdict">
          <VerdictMark verdict={name(rollout.verdict, "VERDICT_")} />
        </dd>
      </div>
      {LOOKING.has(state) && (
        <div>
          <dt>Next look</dt>
          <dd className="figure">{next > 0.5 ? `in ${Math.ceil(next)} s` : "now"}</dd>
        </div>
      )}
      {(state === "ANALYSING" || state === "BAKING") && (
        <div>
          <dt>{state === "BAKING" ? "Watched" : "Analysed"}</dt>
          <dd className="figure">
            {span(seconds(rollout.soak))} <span className="muted">of at least {span(least)}</span>
          </dd>
        </div>
      )}
      <div className="standing-reason">
        <dt>Because</dt>
        <dd>{rollout.reason || "nothing has been asked of it yet"}</dd>
      </div>
      {rollout.missingAgents.length > 0 && (
        <div className="standing-reason">
          <dt>Waiting for</dt>
          <dd>{rollout.missingAgents.join(", ")} to confirm</dd>
        </div>
      )}
    </dl>
  );
}

function Verbs({ rollout, live }: { rollout: RolloutJson; live: Live }) {
  const [verb, setVerb] = useState<string | null>(null);
  const { role, why } = useStore(access);
  const legal = rollout.legalVerbs.filter((each) => VERBS[each]);
  return (
    <div className="verbs">
      {legal.map((each) => (
        <button
          key={each}
          type="button"
          className={VERBS[each]?.danger ? "danger" : each === "pause" ? "" : "primary"}
          disabled={role === "reader"}
          data-verb={each}
          onClick={() => setVerb(each)}
        >
          {VERBS[each]?.label}
        </button>
      ))}
      {legal.length === 0 && <p className="muted">It is over; nothing can be asked of it.</p>}
      {role === "reader" && <p className="muted">Read only: {why}</p>}
      <span className="links">
        Report:{" "}
        {(["html", "markdown", "json"] as const).map((form) => (
          <a
            key={form}
            href={`${API}/rollouts/${rollout.id}/report?format=${form}`}
            target="_blank"
            rel="noreferrer"
            aria-label={`Report as ${form}, in a new tab`}
          >
            {form}
          </a>
        ))}
      </span>
      {verb && <VerbDialog rollout={rollout} verb={verb} live={live} onClose={() => setVerb(null)} />}
    </div>
  );
}
