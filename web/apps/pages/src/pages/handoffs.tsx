// Bot handoffs as a timeline: who gives which conversation to whom, how urgent it is, how long it waits, and what the
// conversation was so far.

import { useBotHandoffs } from "@lanecast/client/react";
import { useState } from "react";
import { useSay } from "../components/announcer.tsx";
import { Empty } from "../components/empty.tsx";
import { Clock, GapLine, Provenance, useServerNow } from "../components/marks.tsx";
import { Page } from "../components/page.tsx";
import { capital, duration, plural } from "../format.ts";
import { SINCE, useContinuity } from "../hooks/continuity.ts";
import { useCalm, useHeld } from "../hooks/pace.ts";
import { withGaps } from "../logic/gaps.ts";
import { outcome, type Progress, type Told, tell, waiting } from "../logic/handoffs.ts";
import { HoldButton } from "./strategy.tsx";

const PACE_MS = 1_000;
const LISTED = 30;

export function HandoffsPage({ channel }: { channel: string }) {
  const view = useBotHandoffs(channel, { since: SINCE });
  const continuity = useContinuity(channel);
  const [paused, setPaused] = useState(false);
  const [reading, setReading] = useState<ReadonlySet<string>>(new Set());
  const held = paused || reading.size > 0;
  const calm = useCalm(view.handoffs, PACE_MS);
  const handoffs = useHeld(calm, held);
  const newest = new Set(handoffs.map(({ handoffId }) => handoffId));
  const unseen = held ? calm.filter(({ handoffId }) => !newest.has(handoffId)).length : 0;
  const told = handoffs.map(tell).filter((found) => found !== null);
  const open = told.filter(({ progress }) => progress === "offered" || progress === "accepted").length;
  useSay(told.length > 0 ? `${plural(open, "handoff")} waiting` : null);

  const onReading = (id: string, is: boolean) =>
    setReading((before) => {
      const after = new Set(before);
      if (is) after.add(id);
      else after.delete(id);
      return after;
    });
  const lines = withGaps(
    told.slice(0, LISTED).map((item) => ({ ...item, ...placeOf(item) })),
    continuity.gaps,
  );
  return (
    <Page
      title="Handoffs"
      question="Which bot gives which conversation to whom, and who waits."
      channel={channel}
      continuity={continuity}
      tools={
        told.length > 0 && (
          <HoldButton
            held={held}
            waiting={unseen}
            onChange={(hold) => {
              setPaused(hold);
              if (!hold) setReading(new Set());
            }}
          />
        )
      }
    >
      {told.length > 0 ? (
        <>
          <Summary told={told} open={open} />
          <ol className="timeline" data-testid="timeline">
            {lines.map((line) =>
              line.kind === "gap" ? (
                <GapLine key={line.key} gap={line.gap} />
              ) : (
                <Entry
                  key={line.event.id}
                  told={line.event}
                  reading={reading.has(line.event.id)}
                  onReading={(is) => onReading(line.event.id, is)}
                />
              ),
            )}
          </ol>
        </>
      ) : (
        <Empty
          what="handoffs"
          how="They come when one bot passes a customer to another. To see some, run lanecast demo."
          ready={view.ready}
          error={view.error}
        />
      )}
    </Page>
  );
}

function placeOf({ newest: { lane, epoch, offset } }: Told) {
  return { lane, epoch, offset };
}

function Summary({ told, open }: { told: readonly Told[]; open: number }) {
  const count = (wanted: Progress) => told.filter(({ progress }) => progress === wanted).length;
  return (
    <ul className="tally" aria-label="Of the handoffs shown">
      <li data-strong={open > 0}>
        <strong>{open}</strong> waiting
      </li>
      <li>
        <strong>{count("confirmed")}</strong> handed over
      </li>
      <li>
        <strong>{count("declined")}</strong> declined
      </li>
      <li data-strong={count("timed out") > 0}>
        <strong>{count("timed out")}</strong> without answer
      </li>
    </ul>
  );
}

const MARKS: Readonly<Record<Progress, string>> = {
  offered: "○",
  accepted: "◐",
  confirmed: "●",
  declined: "✕",
  "timed out": "!",
  unknown: "·",
};

function Entry({ told, reading, onReading }: { told: Told; reading: boolean; onReading(is: boolean): void }) {
  const { from, to, progress, summary, reason, turns, hops, newest } = told;
  return (
    <li className="entry" data-testid="handoff" data-event={told.id} data-progress={progress}>
      <span className="dot" aria-hidden="true">
        {MARKS[progress]}
      </span>
      <article>
        <header>
          <h2>
            {capital(from)} <span aria-hidden="true">→</span>
            <span className="visually-hidden"> to </span> {capital(to)}
          </h2>
          <span className="state" data-progress={progress}>
            {capital(progress)}
          </span>
          <Provenance event={newest} lane />
        </header>
        <p className="outcome">
          {capital(outcome(told))}
          <Wait told={told} />
        </p>
        {summary && <p className="summary">{summary}</p>}
        <p className="meta">
          {reason && <span>{reason}</span>}
          {hops > 1 && <span>handed over {plural(hops, "time")}</span>}
          <span className="conversation">{told.conversation}</span>
        </p>
        {turns.length > 0 && (
          <details open={reading} onToggle={({ currentTarget }) => onReading(currentTarget.open)}>
            <summary>Conversation so far ({turns.length})</summary>
            <Steps told={told} />
            <ol className="turns">
              {turns.map(({ speaker, text }, index) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: turns are only ever added at the end
                <li key={index} data-side={speaker === "customer" ? "customer" : "bot"}>
                  <span className="speaker">{capital(speaker)}</span>
                  <span className="text">{text}</span>
                </li>
              ))}
            </ol>
          </details>
        )}
      </article>
    </li>
  );
}

function Wait({ told }: { told: Told }) {
  const now = useServerNow();
  const wait = waiting(told, now);
  if (!wait) return null;
  if (!wait.open) return <span className="wait"> · answered after {waited(wait.ms)}</span>;
  const late = wait.share === 1;
  return (
    <span className="wait" data-open={true} data-late={late}>
      {" "}
      · waiting {waited(wait.ms)}
      {late && ", longer than the offer holds"}
    </span>
  );
}

/** Stamps of steps are whole milliseconds. */
function waited(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : duration(ms);
}

function Steps({ told: { steps } }: { told: Told }) {
  if (steps.length < 2) return null;
  return (
    <ol className="steps" aria-label="Steps">
      {steps.map(({ progress, at }) => (
        <li key={progress}>
          <span aria-hidden="true">{MARKS[progress]}</span> {progress} <Clock at={at} />
        </li>
      ))}
    </ol>
  );
}
