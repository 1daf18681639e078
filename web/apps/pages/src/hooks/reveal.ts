// How many rows of a list are out: one more with each step, until all are.

import { useEffect, useState } from "react";

const STEP_MS = 160;

/** Counts up to `count`, from zero whenever `key` changes. `still` shows all at once. */
export function useReveal(key: string, count: number, still: boolean): number {
  const [progress, setProgress] = useState({ key, shown: 0 });
  const shown = progress.key === key ? progress.shown : 0;
  useEffect(() => {
    if (still || shown >= count) return;
    const timer = setTimeout(() => setProgress({ key, shown: shown + 1 }), STEP_MS);
    return () => clearTimeout(timer);
  }, [key, count, still, shown]);
  return still ? count : Math.min(shown, count);
}
