// The page: what is connected, where the time goes, and the four lanes with what arrives in them.

import { useEffect } from "react";
import { LaneColumns } from "./components/lane-columns.tsx";
import { MergedFeed } from "./components/merged-feed.tsx";
import { Route } from "./components/route.tsx";
import { Announcer, TopBar } from "./components/top-bar.tsx";
import type { Live } from "./live.ts";
import { useNarrow } from "./narrow.ts";

export function App({ live }: { live: Live }) {
  const narrow = useNarrow();
  usePauseKey(live);
  return (
    <>
      <a className="skip" href="#feed">
        Skip to the events
      </a>
      <TopBar live={live} />
      <main>
        <Route live={live} />
        {narrow ? <MergedFeed live={live} /> : <LaneColumns live={live} />}
      </main>
      <Announcer live={live} />
    </>
  );
}

/** The key P pauses and resumes, unless it is typed into something. */
function usePauseKey(live: Live): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "p" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target instanceof HTMLElement && event.target.closest("input, textarea, select")) return;
      live.feed.setPaused(!live.feed.snapshot.get().paused);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [live]);
}
