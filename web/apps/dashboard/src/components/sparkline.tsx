// A lane's 99th percentile as it went over the last minute and a half, against its budget. Logarithmic, since a bad second is ten
// times a good one.

import { duration } from "../format.ts";

const WIDTH = 240;
const HEIGHT = 34;
const POINTS = 90;

export function Sparkline({
  points,
  budgetMs,
  label,
}: {
  points: readonly (number | null)[];
  budgetMs: number;
  label: string;
}) {
  const low = Math.log(budgetMs / 20);
  const high = Math.log(budgetMs * 5);
  const y = (ms: number) => {
    const share = (Math.log(Math.max(ms, 1e-6)) - low) / (high - low);
    return HEIGHT - 2 - Math.min(1, Math.max(0, share)) * (HEIGHT - 4);
  };
  const x = (index: number) => WIDTH - ((points.length - 1 - index) * WIDTH) / (POINTS - 1);
  const last = points.findLast((point) => point !== null);
  const text = last === undefined || last === null ? `${label}: none yet` : `${label}: now ${duration(last)}`;
  return (
    <svg className="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img">
      <title>{text}</title>
      <line className="budget-line" x1="0" x2={WIDTH} y1={y(budgetMs)} y2={y(budgetMs)} />
      {segments(points).map(({ start, values }) => (
        <polyline
          key={start}
          points={values.map((ms, index) => `${x(start + index).toFixed(1)},${y(ms).toFixed(1)}`).join(" ")}
        />
      ))}
    </svg>
  );
}

/** Cuts the line where there were no events: silence is not a latency of zero. */
function segments(points: readonly (number | null)[]): { start: number; values: number[] }[] {
  const found: { start: number; values: number[] }[] = [];
  let open: { start: number; values: number[] } | null = null;
  points.forEach((point, index) => {
    if (point === null) {
      open = null;
      return;
    }
    if (open === null) {
      open = { start: index, values: [] };
      found.push(open);
    }
    open.values.push(point);
  });
  return found;
}
