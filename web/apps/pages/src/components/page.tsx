// The frame that the four pages share: heading, question, connection, advice.

import { type ReactNode, useEffect, useRef } from "react";
import type { ContinuityView } from "../hooks/continuity.ts";
import { Advice, StatusBar } from "./status.tsx";

export function Page({
  title,
  question,
  channel,
  continuity,
  tools,
  children,
}: {
  title: string;
  /** What the page answers. */
  question: string;
  channel: string;
  continuity: ContinuityView;
  tools?: ReactNode;
  children: ReactNode;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(document.activeElement === document.body);
  useEffect(() => {
    document.title = `${title} · Lanecast`;
    // After a change of page the reading goes on here; the first page is read from the top.
    if (!first.current) heading.current?.focus({ preventScroll: true });
  }, [title]);
  return (
    <main id="content">
      <header className="page-head">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        <p>{question}</p>
        {tools && <div className="page-tools">{tools}</div>}
        <StatusBar channel={channel} continuity={continuity} />
      </header>
      <Advice />
      {children}
    </main>
  );
}
