// A handoff of a conversation as its steps tell it: how far it is, and how long somebody waited. Pure; used by the
// handoffs page.

import type { Handoff, HandoffEvent } from "@lanecast/client/react";

export type Progress = "offered" | "accepted" | "confirmed" | "declined" | "timed out" | "unknown";

const PROGRESS: Readonly<Record<string, Progress>> = {
  HANDOFF_STATE_OFFERED: "offered",
  HANDOFF_STATE_ACCEPTED: "accepted",
  HANDOFF_STATE_CONFIRMED: "confirmed",
  HANDOFF_STATE_DECLINED: "declined",
  HANDOFF_STATE_TIMED_OUT: "timed out",
};

export interface Turn {
  readonly speaker: string;
  readonly text: string;
}

export interface Told {
  readonly id: string;
  readonly conversation: string;
  readonly from: string;
  readonly to: string;
  readonly progress: Progress;
  /** Who has the conversation now. */
  readonly owner: string;
  readonly newest: HandoffEvent;
  readonly reason: string;
  readonly summary: string;
  readonly turns: readonly Turn[];
  /** How often the conversation was handed over, this time included. */
  readonly hops: number;
  readonly steps: readonly { readonly progress: Progress; readonly at: number }[];
  /** When it was offered, milliseconds since the Unix epoch; null: that step was not seen. */
  readonly offeredAt: number | null;
  /** When the receiver, or the clock, answered; null: not yet, or not seen. */
  readonly answeredAt: number | null;
  readonly expiresAt: number | null;
}

export function tell(handoff: Handoff): Told | null {
  const newest = handoff.steps.at(-1);
  if (!newest) return null;
  const { data } = newest;
  const steps = handoff.steps.map((event) => ({
    progress: progressOf(event.data.state),
    at: event.createTime?.getTime() ?? 0,
  }));
  const progress = progressOf(handoff.state);
  const turned = handoff.steps.findLast((step) => (step.data.recentTurns?.length ?? 0) > 0);
  return {
    id: handoff.handoffId,
    conversation: handoff.conversationId,
    from: handoff.from,
    to: handoff.to,
    progress,
    owner: progress === "confirmed" ? handoff.to : handoff.from,
    newest,
    reason: data.reason ?? "",
    summary: data.summary ?? "",
    turns: (turned?.data.recentTurns ?? []).map(({ speaker = "", text = "" }) => ({ speaker, text })),
    hops: data.hopCount ?? 0,
    steps,
    offeredAt: steps.find((step) => step.progress === "offered")?.at ?? null,
    answeredAt: steps.find((step) => step.progress !== "offered" && step.progress !== "unknown")?.at ?? null,
    expiresAt: data.expireTime ? Date.parse(data.expireTime) : null,
  };
}

export interface Waiting {
  /** True while nobody has answered. */
  readonly open: boolean;
  readonly ms: number;
  /** How much of the time for an answer is used up, 0 to 1; null: unknown. */
  readonly share: number | null;
}

/** How long the offer waited for an answer, or waits; null where the offer was not seen. */
export function waiting(told: Told, now: number): Waiting | null {
  const { offeredAt, answeredAt, expiresAt } = told;
  if (offeredAt === null) return null;
  const open = answeredAt === null;
  const ms = Math.max(0, (answeredAt ?? now) - offeredAt);
  const limit = expiresAt === null ? 0 : expiresAt - offeredAt;
  return { open, ms, share: limit > 0 ? Math.min(1, ms / limit) : null };
}

/** What became of it, in words. */
export function outcome({ progress, to, from }: Pick<Told, "progress" | "to" | "from">): string {
  switch (progress) {
    case "offered":
      return `${to} has not answered yet`;
    case "accepted":
      return `${to} is ready, ${from} still has it`;
    case "confirmed":
      return `${to} has the conversation`;
    case "declined":
      return `${to} declined, it stays with ${from}`;
    case "timed out":
      return `no answer in time, it stays with ${from}`;
    default:
      return "its state is not known";
  }
}

function progressOf(state: string | undefined): Progress {
  return PROGRESS[state ?? ""] ?? "unknown";
}
