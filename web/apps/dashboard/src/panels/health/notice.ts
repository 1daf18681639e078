// What a panel of figures says while they are not there, or old.

import type { Notice } from "../../components/panel.tsx";
import type { MetricsSnapshot } from "../../metrics.ts";
import { span } from "../../words.ts";

/** Null where the figures are fresh and there are some. */
export function figuresNotice(metrics: MetricsSnapshot, any: boolean): Notice | null {
  if (metrics.state === "waiting") return { kind: "loading", text: "Waiting for the first figures of the service." };
  if (metrics.state === "lost") {
    const age = span((Date.now() - metrics.at) / 1_000);
    return {
      kind: metrics.at === 0 ? "error" : "stale",
      text: `The service does not answer${metrics.at === 0 ? "" : `; these figures are ${age} old`}. Check that it runs: lanecast health.`,
    };
  }
  if (!any) return { kind: "empty", text: "No deliveries in the last minute. Start some: lanecast demo." };
  return null;
}
