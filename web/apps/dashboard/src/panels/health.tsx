// How the system does: lanes, hops, time, throughput, AI systems, and this browser beside the others.

import type { Live } from "../live.ts";
import { AiSystems } from "./health/ai-systems.tsx";
import { Browser } from "./health/browser.tsx";
import { HopPanel } from "./health/hops.tsx";
import { LaneStrip } from "./health/lane-strip.tsx";
import { LatencyPanel } from "./health/latency.tsx";
import { ThroughputPanel } from "./health/throughput.tsx";
import "../styles/health.css";

export default function Health({ live }: { live: Live }) {
  return (
    <div className="health">
      <LaneStrip live={live} />
      <LatencyPanel live={live} />
      <div className="two">
        <HopPanel live={live} />
        <ThroughputPanel live={live} />
      </div>
      <div className="two">
        <AiSystems live={live} />
        <Browser live={live} />
      </div>
    </div>
  );
}
