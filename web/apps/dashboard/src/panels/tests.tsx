// Tests and reports.

import type { Live } from "../live.ts";
import { PerformancePanel } from "./tests/performance-panel.tsx";
import { ReportsPanel } from "./tests/reports-panel.tsx";
import "../styles/tests.css";

export default function Tests(_: { live: Live }) {
  return (
    <div className="two">
      <PerformancePanel />
      <ReportsPanel />
    </div>
  );
}
