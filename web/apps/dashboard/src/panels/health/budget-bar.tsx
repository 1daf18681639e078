// A lane's latency against its limit: a bar from the median to the 99th percentile on a logarithmic scale, on which the
// limit stands at the same place in every lane.

import { duration } from "../../format.ts";

const WIDTH = 200;
const HEIGHT = 22;
/** Where the limit stands, and how many times it fits to its left and right. */
const LIMIT_AT = 0.68;
const DECADES_LEFT = 2;
const DECADES_RIGHT = (DECADES_LEFT * (1 - LIMIT_AT)) / LIMIT_AT;

export function position(ms: number, limit: number): number {
  const decades = Math.log10(Math.max(ms, 1e-6) / limit);
  const share =
    decades < 0 ? LIMIT_AT * (1 + decades / DECADES_LEFT) : LIMIT_AT + (decades / DECADES_RIGHT) * (1 - LIMIT_AT);
  return Math.min(1, Math.max(0, share));
}

interface BudgetBarProps {
  readonly limit: number;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly label: string;
}

export function BudgetBar({ limit, p50, p99, label }: BudgetBarProps) {
  const known = p50 !== null && p99 !== null;
  const x = (ms: number) => 3 + position(ms, limit) * (WIDTH - 6);
  const text = known
    ? `${label}: median ${duration(p50)}, 99th percentile ${duration(p99)}, limit ${duration(limit)}`
    : `${label}: nothing measured`;
  return (
    <svg className="budget-bar" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={text}>
      <rect className="track" x="0" y="8" width={WIDTH} height="6" rx="3" />
      <rect className="beyond" x={x(limit)} y="8" width={WIDTH - x(limit)} height="6" rx="3" />
      {known && (
        <>
          <line className="span" x1={x(p50)} x2={x(p99)} y1="11" y2="11" />
          <circle cx={x(p50)} cy="11" r="4" />
          <path d={`M${x(p99)} 5l6 6l-6 6l-6-6z`} className={p99 > limit ? "p99 over" : "p99"} />
        </>
      )}
      <line className="limit" x1={x(limit)} x2={x(limit)} y1="1" y2="21" />
    </svg>
  );
}
