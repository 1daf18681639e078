// A grade, and on demand the reasons for it.

import { useEffect, useRef } from "react";
import { name } from "../data/protojson.ts";
import type { StatusJson } from "../data/types.ts";
import { percent } from "../format.ts";
import { words } from "../words.ts";

const TONES: Readonly<Record<string, string>> = { A: "good", B: "good", C: "warn", D: "bad", F: "bad" };

/** The letter in a frame; the letter itself says what the colour says. */
export function GradeMark({ grade }: { grade: string | undefined }) {
  const letter = name(grade, "GRADE_");
  return (
    <span className="grade" data-tone={TONES[letter] ?? "none"}>
      {letter || "–"}
    </span>
  );
}

/** The grade of the whole, which opens to its reasons. */
export function GradeDetails({ status }: { status: StatusJson | null }) {
  const details = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      const open = details.current;
      if (open === null || !open.open) return;
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !open.contains(event.target as Node)) {
        open.open = false;
        if (event instanceof KeyboardEvent) open.querySelector("summary")?.focus();
      }
    };
    addEventListener("keydown", close);
    addEventListener("pointerdown", close);
    return () => {
      removeEventListener("keydown", close);
      removeEventListener("pointerdown", close);
    };
  }, []);
  const letter = name(status?.grade, "GRADE_");
  return (
    <details className="grade-details" ref={details}>
      <summary data-testid="grade">
        <GradeMark grade={status?.grade} />
        <span className="wide">{letter ? `${Math.round(status?.score ?? 0)} / 100` : "no grade yet"}</span>
        <span className="visually-hidden">Grade {letter || "not known yet"}. Why?</span>
      </summary>
      <div className="popover">
        {letter && status ? <Reasons status={status} /> : <p>A grade needs deliveries in the last five minutes.</p>}
      </div>
    </details>
  );
}

function Reasons({ status }: { status: StatusJson }) {
  const hasSamples = status.lanes.some((lane) => lane.goodRatio > 0);
  return (
    <>
      <h2>
        Grade {name(status.grade, "GRADE_")}, {status.score.toFixed(0)} of 100 points
      </h2>
      <p className="muted">Last five minutes. A lane that misses its objective costs the points of its weight.</p>
      <ul className="reasons">
        {status.lanes.map((lane) => {
          const met = lane.goodRatio >= lane.objective;
          return (
            <li key={lane.lane} data-met={met}>
              <strong>
                <span aria-hidden="true">{met ? "✓" : "✕"}</span> {words(name(lane.lane, "PRIORITY_"))}
              </strong>{" "}
              <span className="figure">
                {percent(lane.goodRatio, 2)} of {percent(lane.objective, 1)}
              </span>
              <span className="muted">{lane.reason}</span>
            </li>
          );
        })}
      </ul>
      {hasSamples && status.advice.length > 0 && (
        <>
          <h3>What would help most</h3>
          <ol className="advice">
            {status.advice.slice(0, 3).map(({ action, evidence }) => (
              <li key={action}>
                {action} <span className="muted">{evidence}</span>
              </li>
            ))}
          </ol>
        </>
      )}
    </>
  );
}
