// Hooks for the four kinds of AI services: their events in the form a page shows them.

import { useMemo } from "react";
import type { AiEvents, BotHandoffJson, ShapExplanationJson, StrategyRecommendationJson } from "../ai.ts";
import type { Lane } from "../frames.ts";
import type { Arm, DeliveryKind, LanecastEvent } from "../index.ts";
import type { ChannelStatus } from "./channel-store.ts";
import { type ChannelView, type UseChannelOptions, useChannel } from "./hooks.ts";

type Of<T extends keyof AiEvents> = LanecastEvent<Pick<AiEvents, T>>;
export type InsightEvent = Of<"lanecast.ai.v1.ConciergeInsight">;
export type ShapEvent = Of<"lanecast.ai.v1.ShapExplanation">;
export type RecommendationEvent = Of<"lanecast.ai.v1.StrategyRecommendation">;
export type HandoffEvent = Of<"lanecast.ai.v1.BotHandoff">;

export interface InsightsView extends ChannelStatus {
  /** Most useful first: critical ones before others, newer before older. */
  readonly insights: readonly InsightEvent[];
  /** Where the newest insight came from; null while there is none. `cached`: no network has answered yet. */
  readonly freshness: DeliveryKind | null;
}

const NEWEST = { last: 20 } as const;

/** The hints for an agent: those kept on the device at once, then what was missed, then what comes. */
export function useConciergeInsights(channel: string, options: UseChannelOptions = {}): InsightsView {
  const view = useChannel<AiEvents>(channel, { since: NEWEST, ...options });
  return useMemo(() => {
    const insights = ofType(view, "lanecast.ai.v1.ConciergeInsight").reverse();
    const critical = (event: InsightEvent) => (event.lane === "CRITICAL" ? 0 : 1);
    const freshness = insights[0]?.delivery ?? null;
    return { ...status(view), insights: insights.sort((a, b) => critical(a) - critical(b)), freshness };
  }, [view]);
}

export interface ShapBar {
  readonly feature: string;
  readonly value: string;
  readonly contribution: number;
  /** Where the bar begins and ends on the axis of the prediction. */
  readonly from: number;
  readonly to: number;
}

export interface ShapView extends ChannelStatus {
  readonly event: ShapEvent | null;
  readonly explanation: ShapExplanationJson | null;
  /** From the base value to the prediction: greatest first, then the rest in one. They always add up. */
  readonly bars: readonly ShapBar[];
}

/** Rows shown before the rest is drawn as one. */
const SHAP_ROWS = 10;
export const OTHER_FEATURES = "other features";

/** An explanation as the bars of a waterfall: of one prediction where `predictionId` is given, else the newest. */
export function useShapExplanation(
  channel: string,
  { predictionId, ...options }: UseChannelOptions & { readonly predictionId?: string } = {},
): ShapView {
  const view = useChannel<AiEvents>(channel, { since: NEWEST, ...options });
  return useMemo(() => {
    const events = ofType(view, "lanecast.ai.v1.ShapExplanation");
    const event = events.findLast(({ data }) => !predictionId || data.predictionId === predictionId) ?? null;
    const explanation = event?.data ?? null;
    return { ...status(view), event, explanation, bars: explanation ? waterfall(explanation) : [] };
  }, [view, predictionId]);
}

/** The bars of an explanation, as they are drawn. */
export function waterfall(explanation: ShapExplanationJson, rows = SHAP_ROWS): ShapBar[] {
  const all = [...(explanation.contributions ?? [])]
    .map(({ feature = "", displayValue = "", contribution }) => ({
      feature,
      value: displayValue,
      contribution: number(contribution),
    }))
    .sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution));
  const shown = all.slice(0, rows);
  const base = number(explanation.baseValue);
  const listed = shown.reduce((sum, { contribution }) => sum + contribution, 0);
  // Whatever is not listed, sent or not, is the difference: the bars must end at the prediction.
  const rest = number(explanation.prediction) - base - listed;
  const negligible = Math.abs(rest) <= Math.max(number(explanation.tolerance), Number.EPSILON * Math.abs(base));
  if (all.length > rows || !negligible) shown.push({ feature: OTHER_FEATURES, value: "", contribution: rest });
  let from = base;
  return shown.map((bar) => {
    const to = from + bar.contribution;
    const placed = { ...bar, from, to };
    from = to;
    return placed;
  });
}

export interface RecommendationsView extends ChannelStatus {
  /** The newest recommendation of each segment, best expected reward first. */
  readonly recommendations: readonly (RecommendationEvent & { readonly data: StrategyRecommendationJson })[];
}

/** What is recommended for each segment. */
export function useRecommendations(channel: string, options: UseChannelOptions = {}): RecommendationsView {
  const view = useChannel<AiEvents>(channel, { since: NEWEST, ...options });
  return useMemo(() => {
    const newest = new Map<string, RecommendationEvent>();
    for (const event of ofType(view, "lanecast.ai.v1.StrategyRecommendation")) {
      newest.set(event.data.segment ?? "", event);
    }
    const recommendations = [...newest.values()].sort(
      (a, b) => number(b.data.expectedReward) - number(a.data.expectedReward),
    );
    return { ...status(view), recommendations };
  }, [view]);
}

export interface Handoff {
  readonly handoffId: string;
  readonly conversationId: string;
  readonly from: string;
  readonly to: string;
  /** Its state by the newest step. */
  readonly state: NonNullable<BotHandoffJson["state"]>;
  /** All steps, oldest first. */
  readonly steps: readonly HandoffEvent[];
}

export interface HandoffsView extends ChannelStatus {
  /** Newest activity first. */
  readonly handoffs: readonly Handoff[];
}

/** The handoffs of conversations between bots, step by step. */
export function useBotHandoffs(channel: string, options: UseChannelOptions = {}): HandoffsView {
  const view = useChannel<AiEvents>(channel, { since: NEWEST, ...options });
  return useMemo(() => {
    const handoffs = new Map<string, Handoff>();
    for (const event of ofType(view, "lanecast.ai.v1.BotHandoff")) {
      const { handoffId = "", conversationId = "", fromBot = "", toBot = "", state } = event.data;
      const steps = [...(handoffs.get(handoffId)?.steps ?? []), event];
      handoffs.delete(handoffId); // so that it moves to the end
      const newest = state ?? "HANDOFF_STATE_UNSPECIFIED";
      handoffs.set(handoffId, { handoffId, conversationId, from: fromBot, to: toBot, state: newest, steps });
    }
    return { ...status(view), handoffs: [...handoffs.values()].reverse() };
  }, [view]);
}

export interface RolloutView {
  /** The delivery policy of the newest live event; empty: not known yet. */
  readonly policy: string;
  /** The side of a rollout it was on; null: none is going on. */
  readonly arm: Arm | null;
}

/** Which delivery policy a channel is served with, as its events say. */
export function useRollout(channel: string, options: { readonly lanes?: readonly Lane[] } = {}): RolloutView {
  const { latest } = useChannel(channel, { ...options, limit: 1 });
  const policy = latest?.policy ?? "";
  const arm = latest?.arm ?? null;
  return useMemo(() => ({ policy, arm }), [policy, arm]);
}

function ofType<T extends keyof AiEvents>(view: ChannelView<AiEvents>, type: T): Of<T>[] {
  return view.events.filter((event): event is Of<T> & LanecastEvent<AiEvents> => event.type === type);
}

function status({ ready, error, gap }: ChannelStatus): ChannelStatus {
  return { ready, error, gap };
}

/** ProtoJSON writes what is not finite as text, and leaves out zero. */
function number(value: number | string | undefined): number {
  return value === undefined ? 0 : Number(value);
}
