// The state of a rollout as a shape and a word.

import { words } from "../../words.ts";

const MARKS: Readonly<Record<string, readonly [mark: string, tone: string]>> = {
  DRAFT: ["○", "none"],
  STARTING: ["◔", "none"],
  PROPAGATING: ["◔", "none"],
  SETTLING: ["◔", "none"],
  ANALYSING: ["◑", "none"],
  GATED: ["▲", "warn"],
  BAKING: ["◕", "none"],
  COMPLETED: ["✓", "good"],
  HELD: ["❚❚", "warn"],
  ROLLING_BACK: ["↩", "bad"],
  VERIFYING: ["↩", "warn"],
  ROLLED_BACK: ["↩", "warn"],
  CANCELLED: ["–", "none"],
};

export function StateMark({ state }: { state: string }) {
  const [mark, tone] = MARKS[state] ?? ["?", "none"];
  return (
    <span className="state" data-tone={tone} data-state={state}>
      <span aria-hidden="true">{mark}</span> {words(state)}
    </span>
  );
}

const VERDICTS: Readonly<Record<string, readonly [mark: string, tone: string]>> = {
  PASS: ["✓", "good"],
  FAIL: ["✕", "bad"],
  INCONCLUSIVE: ["?", "none"],
  NO_DATA: ["○", "none"],
  ERROR: ["!", "bad"],
};

export function VerdictMark({ verdict }: { verdict: string }) {
  const [mark, tone] = VERDICTS[verdict] ?? ["–", "none"];
  return (
    <span className="state" data-tone={tone} data-verdict={verdict}>
      <span aria-hidden="true">{mark}</span> {verdict === "" ? "no look yet" : words(verdict)}
    </span>
  );
}
