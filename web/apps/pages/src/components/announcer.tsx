// The one live region of the pages: what changed, in words, for who does not see it. Says the connection's state and the
// newest insight, and never more than one thing in four seconds.

import { Store, useStore } from "@lanecast/shared/store";
import { type ReactNode, useEffect, useRef, useState } from "react";

const REST_MS = 4_000;

/** What is to be said next; a newer text takes the place of one that was not said yet. */
const wanted = new Store("");

export function say(text: string): void {
  wanted.set(text);
}

export function Announcer(): ReactNode {
  const text = useStore(wanted);
  const [said, setSaid] = useState("");
  const saidAt = useRef(Number.NEGATIVE_INFINITY);
  useEffect(() => {
    if (text === said) return;
    const wait = Math.max(0, saidAt.current + REST_MS - performance.now());
    const timer = setTimeout(() => {
      saidAt.current = performance.now();
      setSaid(text);
    }, wait);
    return () => clearTimeout(timer);
  }, [text, said]);
  return (
    <p className="visually-hidden" role="status" aria-live="polite">
      {said}
    </p>
  );
}

/** Says a text whenever it changes; null says nothing. */
export function useSay(text: string | null): void {
  useEffect(() => {
    if (text !== null) say(text);
  }, [text]);
}
