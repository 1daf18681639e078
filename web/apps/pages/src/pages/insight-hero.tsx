// The insight that counts now: the hint, what the customer said, what to answer, and the two things to do about it.

import type { InsightEvent } from "@lanecast/client/react";
import { useState } from "react";
import { Icon } from "../components/icons.tsx";
import { LaneMark, Provenance } from "../components/marks.tsx";
import type { Decision } from "../decisions.ts";
import { constant, number, percent, plural } from "../format.ts";
import { marked } from "../logic/insights.ts";

/** How long the word that something was copied stays, in milliseconds. */
const COPIED_MS = 2_000;

export function InsightHero({
  event,
  newer,
  onEngaged,
  onShowNewest,
  onDecide,
}: {
  event: InsightEvent;
  /** How many newer insights wait until this one is let go. */
  newer: number;
  onEngaged: (engaged: boolean) => void;
  onShowNewest: () => void;
  onDecide: (decision: Decision) => void;
}) {
  const { data } = event;
  const terms = (data.evidence ?? []).map(({ term }) => term ?? "");
  return (
    // Pointing at it or tabbing into it holds it, so that the next one does not slip under the finger.
    <article
      className="hero"
      data-testid="hero"
      data-event={event.id}
      data-delivery={event.delivery}
      aria-labelledby="hero-text"
      onPointerEnter={() => onEngaged(true)}
      onPointerLeave={({ pointerType }) => pointerType === "mouse" && onEngaged(false)}
      onFocus={() => onEngaged(true)}
      onBlur={({ currentTarget, relatedTarget }) => onEngaged(currentTarget.contains(relatedTarget))}
    >
      <header>
        <LaneMark lane={event.lane} />
        <span className="kind">{constant(data.kind, "INSIGHT_KIND_")}</span>
        <Provenance event={event} />
      </header>
      <p className="hint" id="hero-text">
        {data.text}
      </p>
      {data.utterance && (
        <figure className="said">
          <figcaption>Customer{data.turn ? `, turn ${data.turn}` : ""}</figcaption>
          <blockquote>
            {marked(data.utterance, terms).map((part, index) =>
              part.strong ? (
                // biome-ignore lint/suspicious/noArrayIndexKey: the parts of an event never change places
                <mark key={index}>{part.text}</mark>
              ) : (
                part.text
              ),
            )}
          </blockquote>
        </figure>
      )}
      {data.suggestedReply && <Reply text={data.suggestedReply} />}
      <footer>
        <div className="actions">
          <button type="button" className="primary" onClick={() => onDecide("acted")}>
            <Icon name="check" /> Acted on it
          </button>
          <button type="button" onClick={() => onDecide("dismissed")}>
            Dismiss
          </button>
          {newer > 0 && (
            <button type="button" className="newer" onClick={onShowNewest}>
              Show {plural(newer, "newer insight")}
            </button>
          )}
        </div>
        <p className="source">
          {data.confidence !== undefined && <span>{percent(number(data.confidence))} sure</span>}
          {data.conversationId && <span>{data.conversationId}</span>}
        </p>
      </footer>
    </article>
  );
}

function Reply({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), COPIED_MS);
    } catch {
      // Without the permission to copy, the text can still be selected.
      setCopied(false);
    }
  };
  return (
    <div className="reply">
      <p>
        <span className="label">You could say</span>
        {text}
      </p>
      <button type="button" className="quiet" onClick={() => void copy()}>
        <Icon name={copied ? "check" : "copy"} /> {copied ? "Copied" : "Copy"}
      </button>
    </div>
  );
}
