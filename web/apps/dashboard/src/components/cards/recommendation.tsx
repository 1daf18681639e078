// A strategy recommendation: what to do for whom, how well it should work, and what else was considered.

import type { AiEvents } from "@lanecast/client";
import { number, percent } from "../../format.ts";

type Data = AiEvents["lanecast.ai.v1.StrategyRecommendation"];

const SHOWN = 4;

export function Recommendation({ data }: { data: Data }) {
  const expected = number(data.expectedReward);
  const lower = number(data.rewardLower);
  const upper = number(data.rewardUpper);
  const evidence = (data.evidence ?? []).slice(0, SHOWN);
  return (
    <div className="body">
      <p className="headline">
        {words(data.action)} <span className="muted">for {words(data.segment)}</span>
      </p>
      {data.rationale && <p>{data.rationale}</p>}
      <div className="reward">
        <span className="label">Expected reward</span>
        <span className="interval" aria-hidden="true">
          <span className="range" style={{ left: `${lower * 100}%`, width: `${Math.max(0, upper - lower) * 100}%` }} />
          <span className="point" style={{ left: `${expected * 100}%` }} />
        </span>
        <span className="figure">
          {percent(expected)}{" "}
          <span className="muted">
            ({percent(lower)}–{percent(upper)})
          </span>
        </span>
      </div>
      {evidence.length > 0 && (
        <ul className="evidence">
          {evidence.map((action) => (
            <li key={action.action} data-chosen={action.action === data.action}>
              <span>
                {action.action === data.action && <span aria-hidden="true">➜ </span>}
                {words(action.action)}
              </span>
              <span className="muted">
                {Number(action.successes ?? 0).toLocaleString("en")} of{" "}
                {Number(action.trials ?? 0).toLocaleString("en")}
              </span>
              <span>best: {percent(number(action.probabilityBest))}</span>
            </li>
          ))}
        </ul>
      )}
      {data.exploratory && (
        <p className="tags">
          <span className="tag">exploring</span>
        </p>
      )}
    </div>
  );
}

function words(name: string | undefined): string {
  return (name ?? "").replaceAll(/[-_]/g, " ");
}
