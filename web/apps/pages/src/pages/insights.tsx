// Concierge insights: what to say to the customer in this second, large; what was said before, below.

import { type InsightEvent, useConciergeInsights } from "@lanecast/client/react";
import { useStore } from "@lanecast/shared/store";
import { useState } from "react";
import { useSay } from "../components/announcer.tsx";
import { Empty } from "../components/empty.tsx";
import { Icon } from "../components/icons.tsx";
import { GapLine, Provenance } from "../components/marks.tsx";
import { Page } from "../components/page.tsx";
import type { Decided, Decisions } from "../decisions.ts";
import { constant, plural } from "../format.ts";
import { SINCE, useContinuity } from "../hooks/continuity.ts";
import { withGaps } from "../logic/gaps.ts";
import { arrange, settle } from "../logic/insights.ts";
import { InsightHero } from "./insight-hero.tsx";

/** Earlier insights that are listed. */
const LISTED = 40;

export function InsightsPage({ channel, decisions }: { channel: string; decisions: Decisions }) {
  const view = useConciergeInsights(channel, { since: SINCE });
  const continuity = useContinuity(channel);
  const decided = useStore(decisions.all);
  const [engaged, setEngaged] = useState(false);
  const [shown, setShown] = useState<InsightEvent | null>(null);

  const { hero: next, all, open } = arrange(view.insights, decided);
  const hero = settle(shown, next, engaged, decided);
  // Remembered while rendering: what is large now is what may be held in the next moment.
  if (hero?.id !== shown?.id) setShown(hero);
  const newer = hero && next && next.id !== hero.id ? all.findIndex(({ id }) => id === hero.id) : 0;
  const earlier = all.filter(({ id }) => id !== hero?.id).slice(0, LISTED);
  useSay(hero ? `Critical insight: ${hero.data.text ?? ""}` : null);

  return (
    <Page
      title="Insights"
      question={`Coaching for ${channel.replace(":", " ")}, while the conversation is going on.`}
      channel={channel}
      continuity={continuity}
    >
      {hero && (
        <InsightHero
          key={hero.id}
          event={hero}
          newer={newer}
          onEngaged={setEngaged}
          onShowNewest={() => setEngaged(false)}
          onDecide={(decision) => {
            setEngaged(false);
            decisions.decide(hero.id, decision);
          }}
        />
      )}
      {!hero && all.length > 0 && (
        <div className="done" data-testid="done">
          <Icon name="check" />
          <p>
            <strong>All decided.</strong> The next insight appears here.
          </p>
        </div>
      )}
      {all.length === 0 && (
        <Empty
          what="insights"
          how="They come when a customer objects, asks, or is about to leave. To see some, run lanecast demo."
          ready={view.ready}
          error={view.error}
        />
      )}
      {earlier.length > 0 && (
        <section className="earlier" aria-labelledby="earlier">
          <div className="section-head">
            <h2 id="earlier">Earlier</h2>
            <p>{plural(Math.max(0, open - (hero ? 1 : 0)), "open insight")} · your decisions stay on this device</p>
          </div>
          <ol className="insight-list">
            {withGaps(earlier, continuity.gaps).map((line) =>
              line.kind === "gap" ? (
                <GapLine key={line.key} gap={line.gap} />
              ) : (
                <Earlier
                  key={line.event.id}
                  event={line.event}
                  decided={decided[line.event.id]}
                  onUndo={() => decisions.undo(line.event.id)}
                />
              ),
            )}
          </ol>
        </section>
      )}
    </Page>
  );
}

const DECIDED = { acted: "Acted on", dismissed: "Dismissed" } as const;

function Earlier({
  event,
  decided,
  onUndo,
}: {
  event: InsightEvent;
  decided: Decided | undefined;
  onUndo: () => void;
}) {
  const { data } = event;
  return (
    <li className="insight-row" data-event={event.id} data-delivery={event.delivery} data-decided={decided?.decision}>
      <div className="insight-text">
        <p className="hint">{data.text}</p>
        {data.utterance && <p className="said">“{data.utterance}”</p>}
      </div>
      <div className="insight-facts">
        <span className="kind">{constant(data.kind, "INSIGHT_KIND_")}</span>
        <Provenance event={event} />
      </div>
      {decided && (
        <div className="insight-decided">
          <span className="decided" data-decision={decided.decision}>
            <Icon name={decided.decision === "acted" ? "check" : "close"} />
            {DECIDED[decided.decision]}
          </span>
          <button type="button" className="quiet" onClick={onUndo} aria-label={`Undo: ${data.text ?? ""}`}>
            Undo
          </button>
        </div>
      )}
    </li>
  );
}
