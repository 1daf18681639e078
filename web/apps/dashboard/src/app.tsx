// The page: what is connected and healthy, the views, and in the first of them the events as they arrive. The other
// views are loaded when they are opened.

import { lazy, Suspense, useEffect, useRef } from "react";
import { LaneColumns } from "./components/lane-columns.tsx";
import { MergedFeed } from "./components/merged-feed.tsx";
import { Nav } from "./components/nav.tsx";
import { RolloutStrip } from "./components/rollout-strip.tsx";
import { Route as Way } from "./components/route.tsx";
import { Announcer, TopBar } from "./components/top-bar.tsx";
import { isTyping } from "./keys.ts";
import type { Live } from "./live.ts";
import { useNarrow } from "./narrow.ts";
import { useRoute, VIEWS, type ViewId } from "./router.ts";

const Health = lazy(() => import("./panels/health.tsx"));
const Rollouts = lazy(() => import("./panels/rollouts.tsx"));
const Alerts = lazy(() => import("./panels/alerts.tsx"));
const Tests = lazy(() => import("./panels/tests.tsx"));

export function App({ live }: { live: Live }) {
  const { view } = useRoute();
  usePauseKey(live);
  useViewChange(view);
  return (
    <>
      <button type="button" className="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the content
      </button>
      <TopBar live={live} />
      <Nav live={live} />
      <main id="main" tabIndex={-1} data-view={view}>
        {view === "live" && <LiveView live={live} />}
        <Suspense fallback={<p className="notice">… Opening</p>}>
          {view === "health" && <Health live={live} />}
          {view === "rollouts" && <Rollouts live={live} />}
          {view === "alerts" && <Alerts live={live} />}
          {view === "tests" && <Tests live={live} />}
        </Suspense>
      </main>
      <Announcer live={live} />
    </>
  );
}

function LiveView({ live }: { live: Live }) {
  const narrow = useNarrow();
  return (
    <>
      <h2 className="visually-hidden">Events as they arrive</h2>
      <RolloutStrip live={live} />
      <Way live={live} />
      {narrow ? <MergedFeed live={live} /> : <LaneColumns live={live} />}
    </>
  );
}

/** A new view begins at its top, and has a title of its own. */
function useViewChange(view: ViewId): void {
  const first = useRef(true);
  useEffect(() => {
    const label = VIEWS.find(({ id }) => id === view)?.label.toLowerCase() ?? "";
    document.title = `Lanecast ${label}`;
    if (!first.current) scrollTo(0, 0);
    first.current = false;
  }, [view]);
}

/** The key P pauses and resumes, unless it is typed into something. */
function usePauseKey(live: Live): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "p" || isTyping(event)) return;
      live.feed.setPaused(!live.feed.snapshot.get().paused);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [live]);
}
