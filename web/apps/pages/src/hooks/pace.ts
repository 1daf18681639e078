// Keeps fast channels readable: a value that changes at most so often, and one that holds still on demand.

import { useEffect, useRef, useState } from "react";

/** The value, renewed at most once in `ms`. The first one is shown at once. */
export function useCalm<T>(value: T, ms: number): T {
  const [shown, setShown] = useState(value);
  const newest = useRef(value);
  const changedAt = useRef(Number.NEGATIVE_INFINITY);
  newest.current = value;
  useEffect(() => {
    if (Object.is(value, shown)) return;
    const wait = Math.max(0, changedAt.current + ms - performance.now());
    const timer = setTimeout(() => {
      changedAt.current = performance.now();
      setShown(newest.current);
    }, wait);
    return () => clearTimeout(timer);
  }, [value, shown, ms]);
  return shown;
}

/** The value as it was when `held` became true. */
export function useHeld<T>(value: T, held: boolean): T {
  const kept = useRef(value);
  if (!held) kept.current = value;
  return kept.current;
}
