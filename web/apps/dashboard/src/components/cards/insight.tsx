// A concierge insight: what the customer said, what to make of it, what to answer.

import type { AiEvents } from "@lanecast/client";
import { constant, number, percent } from "../../format.ts";

type Data = AiEvents["lanecast.ai.v1.ConciergeInsight"];

export function Insight({ data }: { data: Data }) {
  const kind = constant(data.kind, "INSIGHT_KIND_");
  const terms = (data.evidence ?? []).map(({ term }) => term ?? "").filter((term) => term !== "");
  return (
    <div className="body">
      <p className="headline">{data.text}</p>
      {data.utterance && (
        <blockquote>
          <Highlighted text={data.utterance} terms={terms} />
        </blockquote>
      )}
      {data.suggestedReply && (
        <p className="reply">
          <span className="label">Say</span> {data.suggestedReply}
        </p>
      )}
      <p className="tags">
        {kind && <span className="tag">{kind}</span>}
        {data.confidence !== undefined && <span className="tag">{percent(number(data.confidence))} sure</span>}
        {data.agentId && <span className="tag quiet">agent {data.agentId}</span>}
        {data.turn !== undefined && <span className="tag quiet">turn {data.turn}</span>}
      </p>
    </div>
  );
}

/** Marks the words that carried the classification. */
function Highlighted({ text, terms }: { text: string; terms: readonly string[] }) {
  if (terms.length === 0) return text;
  const escaped = terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const parts = text.split(new RegExp(`\\b(${escaped.join("|")})\\b`, "i"));
  // Split with a group gives text and terms in turn, so the place of a part is what it is.
  // biome-ignore lint/suspicious/noArrayIndexKey: the parts of an event never change places
  return parts.map((part, index) => (index % 2 === 1 ? <mark key={index}>{part}</mark> : part));
}
