// The pages and the way between them.

import type { AiEvents } from "@lanecast/client";
import { LanecastProvider, useChannel } from "@lanecast/client/react";
import { useStore } from "@lanecast/shared/store";
import { nextTheme, theme } from "@lanecast/shared/theme";
import { Announcer, useSay } from "./components/announcer.tsx";
import { Icon } from "./components/icons.tsx";
import { useStatus } from "./components/status.tsx";
import { browserStorage, Decisions } from "./decisions.ts";
import { SINCE } from "./hooks/continuity.ts";
import { useOnline } from "./hooks/surroundings.ts";
import { HandoffsPage } from "./pages/handoffs.tsx";
import { InsightsPage } from "./pages/insights.tsx";
import { StrategyPage } from "./pages/strategy.tsx";
import { ValuationsPage } from "./pages/valuations.tsx";
import { follow, hrefOf, PAGES, type PageName, place } from "./router.ts";
import type { Channels, Runtime } from "./runtime.ts";

const NAMES: Readonly<Record<PageName, string>> = {
  insights: "Insights",
  valuations: "Valuations",
  strategy: "Strategy",
  handoffs: "Handoffs",
};

const decisions = new Decisions(browserStorage());

export function App({ runtime }: { runtime: Runtime }) {
  const page = useStore(place);
  const link = useStore(runtime.link);
  return (
    <>
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <div className="shell">
        <Sidebar page={page} />
        {link ? (
          <LanecastProvider client={link.client}>
            <KeepAll channels={link.channels} />
            <div>
              <Update runtime={runtime} />
              <Current page={page} channels={link.channels} />
            </div>
            <ConnectionNews />
          </LanecastProvider>
        ) : (
          <Starting runtime={runtime} />
        )}
      </div>
      <Announcer />
    </>
  );
}

function Current({ page, channels }: { page: PageName; channels: Channels }) {
  switch (page) {
    case "insights":
      return <InsightsPage channel={channels.insights} decisions={decisions} />;
    case "valuations":
      return <ValuationsPage channel={channels.valuations} />;
    case "strategy":
      return <StrategyPage channel={channels.strategy} />;
    case "handoffs":
      return <HandoffsPage channel={channels.handoffs} />;
  }
}

/** Receives for all pages, whichever is open: each is up to date at once, and kept for a time without a network. */
function KeepAll({ channels }: { channels: Channels }) {
  useChannel<AiEvents>(channels.insights, { since: SINCE });
  useChannel<AiEvents>(channels.valuations, { since: SINCE });
  useChannel<AiEvents>(channels.strategy, { since: SINCE });
  useChannel<AiEvents>(channels.handoffs, { since: SINCE });
  return null;
}

function ConnectionNews() {
  const { label } = useStatus();
  useSay(`Connection: ${label}`);
  return null;
}

/** Another version of the pages was fetched; changing to it is the reader's choice. */
function Update({ runtime }: { runtime: Runtime }) {
  const apply = useStore(runtime.update);
  if (apply === null) return null;
  return (
    <div className="update">
      <p>A new version of these pages is ready.</p>
      <button type="button" onClick={apply}>
        Reload
      </button>
    </div>
  );
}

/** Before there is an address to connect to. */
function Starting({ runtime }: { runtime: Runtime }) {
  const problem = useStore(runtime.problem);
  const online = useOnline();
  useSay(problem === null ? null : "No connection yet");
  return (
    <main id="content">
      <div className="empty">
        <h1>{problem === null ? "Connecting …" : online ? "No connection yet" : "Offline"}</h1>
        <p>
          {online
            ? (problem ?? "Asking the server which channels are for you.")
            : "This device has not shown these pages before, so it has kept nothing. Open them once with a network."}
        </p>
      </div>
    </main>
  );
}

function Sidebar({ page }: { page: PageName }) {
  return (
    <header className="sidebar">
      <div className="brand">
        <img src="/pages/icon.svg" alt="" width="28" height="28" />
        <span>Lanecast</span>
      </div>
      <nav aria-label="Pages">
        <ul>
          {PAGES.map((name) => (
            <li key={name}>
              <a href={hrefOf(name)} aria-current={name === page ? "page" : undefined} onClick={(e) => follow(e, name)}>
                <Icon name={name} />
                {NAMES[name]}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div className="aside">
        <a href="/">Dashboard</a>
        <ThemeButton />
      </div>
    </header>
  );
}

function ThemeButton() {
  const choice = useStore(theme);
  const marks = { system: "◑", light: "☀", dark: "☾" } as const;
  return (
    <button type="button" className="quiet" onClick={nextTheme} aria-label={`Colours: ${choice}. Change`}>
      <span aria-hidden="true">{marks[choice]}</span> <span className="theme-name">{choice}</span>
    </button>
  );
}
