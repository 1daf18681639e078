// The public API of @lanecast/client/react.

export {
  type Handoff,
  type HandoffEvent,
  type HandoffsView,
  type InsightEvent,
  type InsightsView,
  OTHER_FEATURES,
  type RecommendationEvent,
  type RecommendationsView,
  type RolloutView,
  type ShapBar,
  type ShapEvent,
  type ShapView,
  useBotHandoffs,
  useConciergeInsights,
  useRecommendations,
  useRollout,
  useShapExplanation,
  waterfall,
} from "./ai.ts";
export type { ChannelOptions, ChannelStatus, Reducer, Snapshot } from "./channel-store.ts";
export {
  type ChannelView,
  type LatencyView,
  type UseChannelOptions,
  useChannel,
  useChannelReducer,
  useConnection,
  useLatency,
} from "./hooks.ts";
export { LanecastProvider, type LanecastProviderProps, useClient } from "./provider.ts";
