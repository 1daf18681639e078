// The payloads of `lanecast.ai.v1` by type name, for `createClient<AiEvents>`. Types only.

import type { ShapExplanationJson } from "./gen/lanecast/ai/v1/analytics_pb.ts";
import type { BotHandoffJson } from "./gen/lanecast/ai/v1/bots_pb.ts";
import type { ConciergeInsightJson } from "./gen/lanecast/ai/v1/concierge_pb.ts";
import type { StrategyRecommendationJson } from "./gen/lanecast/ai/v1/strategy_pb.ts";

export interface AiEvents {
  "lanecast.ai.v1.ConciergeInsight": ConciergeInsightJson;
  "lanecast.ai.v1.BotHandoff": BotHandoffJson;
  "lanecast.ai.v1.ShapExplanation": ShapExplanationJson;
  "lanecast.ai.v1.StrategyRecommendation": StrategyRecommendationJson;
}

export type { BotHandoffJson, ConciergeInsightJson, ShapExplanationJson, StrategyRecommendationJson };
