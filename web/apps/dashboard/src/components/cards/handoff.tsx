// A bot handoff: who gives a conversation to whom, and how far that has come.

import type { AiEvents } from "@lanecast/client";
import { constant } from "../../format.ts";

type Data = AiEvents["lanecast.ai.v1.BotHandoff"];

const STEPS = ["Offered", "Accepted", "Confirmed"] as const;

export function Handoff({ data }: { data: Data }) {
  const state = constant(data.state, "HANDOFF_STATE_");
  const turn = data.recentTurns?.at(-1);
  return (
    <div className="body">
      <p className="headline">
        {data.fromBot} <span aria-hidden="true">→</span>
        <span className="visually-hidden"> to </span> {data.toBot}
      </p>
      <Steps state={state} />
      {data.reason && <p>{data.reason}</p>}
      {turn?.text && (
        <blockquote>
          <span className="muted">{turn.speaker}:</span> {turn.text}
        </blockquote>
      )}
      <p className="tags">
        {data.conversationId && <span className="tag quiet">{data.conversationId}</span>}
        {(data.hopCount ?? 0) > 1 && <span className="tag quiet">handed over {data.hopCount} times</span>}
      </p>
    </div>
  );
}

function Steps({ state }: { state: string }) {
  const reached = (STEPS as readonly string[]).indexOf(state);
  if (reached < 0) {
    return state === "" ? null : (
      <p className="tags">
        <span className="tag bad">
          <span aria-hidden="true">✕</span> {state}
        </span>
      </p>
    );
  }
  return (
    <ol className="steps" aria-label={`State: ${state}`}>
      {STEPS.map((step, index) => (
        <li key={step} data-done={index <= reached} aria-current={index === reached ? "step" : undefined}>
          <span aria-hidden="true">{index <= reached ? "●" : "○"}</span> {step}
        </li>
      ))}
    </ol>
  );
}
