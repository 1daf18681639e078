// Valuations: why the model says this price, feature by feature, and which valuations there were before.

import type { AiEvents } from "@lanecast/client";
import { type ShapEvent, useChannel } from "@lanecast/client/react";
import { useEffect, useMemo, useState } from "react";
import { useSay } from "../components/announcer.tsx";
import { Empty } from "../components/empty.tsx";
import { GapLine, Provenance } from "../components/marks.tsx";
import { Page } from "../components/page.tsx";
import { WaterfallChart, WaterfallTable } from "../components/waterfall.tsx";
import { amount, capital, number } from "../format.ts";
import { SINCE, useContinuity } from "../hooks/continuity.ts";
import { useCalm } from "../hooks/pace.ts";
import { useReveal } from "../hooks/reveal.ts";
import { useReducedMotion } from "../hooks/surroundings.ts";
import { withGaps } from "../logic/gaps.ts";
import { newestFirst } from "../logic/insights.ts";
import { buildUp, isDue, layOut } from "../logic/waterfall.ts";

/** How long a valuation is shown before the next one takes its place, in milliseconds. */
const DWELL_MS = 8_000;
const HISTORY_MS = 1_000;
const LISTED = 30;

export function ValuationsPage({ channel }: { channel: string }) {
  const view = useChannel<AiEvents>(channel, { since: SINCE });
  const continuity = useContinuity(channel);
  const events = useMemo(() => newestFirst(view.events.filter(isShap)), [view.events]);
  const [pinned, setPinned] = useState<ShapEvent | null>(null);
  const followed = useFollowed(events[0] ?? null);
  const event =
    (pinned && (events.find(({ data }) => data.predictionId === pinned.data.predictionId) ?? pinned)) ?? followed;
  const history = useCalm(
    useMemo(() => oneEach(events).slice(0, LISTED), [events]),
    HISTORY_MS,
  );
  return (
    <Page
      title="Valuations"
      question="What made the model arrive at this value, feature by feature."
      channel={channel}
      continuity={continuity}
    >
      {event ? (
        <div className="valuations">
          <Explanation event={event} chosen={pinned !== null} />
          <section className="history" aria-labelledby="history">
            <div className="section-head">
              <h2 id="history">History</h2>
              <button type="button" aria-pressed={pinned === null} onClick={() => setPinned(pinned ? null : event)}>
                {pinned === null ? "Following the newest" : "Follow the newest"}
              </button>
            </div>
            <ol>
              {withGaps(history, continuity.gaps).map((line) =>
                line.kind === "gap" ? (
                  <GapLine key={line.key} gap={line.gap} />
                ) : (
                  <HistoryRow
                    key={line.event.data.predictionId ?? line.event.id}
                    event={line.event}
                    current={line.event.data.predictionId === event.data.predictionId}
                    onChoose={() => setPinned(line.event)}
                  />
                ),
              )}
            </ol>
          </section>
        </div>
      ) : (
        <Empty
          what="valuations"
          how="They come when a model has valued something and explains it. To see some, run lanecast demo."
          ready={view.ready}
          error={view.error}
        />
      )}
    </Page>
  );
}

function Explanation({ event, chosen }: { event: ShapEvent; chosen: boolean }) {
  const [asTable, setAsTable] = useState(false);
  const { data } = event;
  const unit = data.unit ?? "";
  const plan = layOut(data);
  const shown = useReveal(data.predictionId ?? event.id, plan?.rows.length ?? 0, useReducedMotion());
  const target = data.target || "prediction";
  // Whoever only follows is not told of each.
  useSay(plan && chosen ? `${data.subject ?? "Valuation"}: ${target} ${amount(plan.prediction, unit)}` : null);
  return (
    <article className="explanation" data-testid="explanation" data-event={event.id} data-delivery={event.delivery}>
      <header>
        <div>
          <h2>{data.subject || data.predictionId}</h2>
          <p className="model">
            {data.model} · <Provenance event={event} />
          </p>
        </div>
        <fieldset className="switch">
          <legend className="visually-hidden">Show as</legend>
          <button type="button" aria-pressed={!asTable} onClick={() => setAsTable(false)}>
            Chart
          </button>
          <button type="button" aria-pressed={asTable} onClick={() => setAsTable(true)}>
            Table
          </button>
        </fieldset>
      </header>
      {plan ? (
        <>
          <dl className="sums">
            <div className="lead">
              <dt>{capital(target)} f(x)</dt>
              <dd>{amount(plan.prediction, unit)}</dd>
            </div>
            <div>
              <dt>Base value</dt>
              <dd>{amount(plan.base, unit)}</dd>
            </div>
            <div>
              <dt>Difference</dt>
              <dd>
                <Signed value={plan.prediction - plan.base} unit={unit} />
              </dd>
            </div>
            {data.observed !== undefined && (
              <>
                <div>
                  <dt>Observed</dt>
                  <dd>{amount(number(data.observed), unit)}</dd>
                </div>
                <div>
                  <dt>Error of f(x)</dt>
                  <dd>{amount(plan.prediction - number(data.observed), unit, true)}</dd>
                </div>
              </>
            )}
          </dl>
          {asTable ? (
            <WaterfallTable plan={plan} unit={unit} target={target} />
          ) : (
            <WaterfallChart plan={plan} rows={buildUp(plan, shown)} unit={unit} />
          )}
        </>
      ) : (
        <p className="advice" data-tone="warn">
          This valuation holds numbers that are not finite, so it cannot be drawn. Ask whoever runs the model
          {data.model ? ` ${data.model}` : ""}.
        </p>
      )}
    </article>
  );
}

function Signed({ value, unit }: { value: number; unit: string }) {
  return (
    <span className="signed" data-sign={value < 0 ? "down" : "up"}>
      <span aria-hidden="true">{value < 0 ? "▼" : "▲"}</span> {amount(value, unit, true)}
    </span>
  );
}

function HistoryRow({ event, current, onChoose }: { event: ShapEvent; current: boolean; onChoose: () => void }) {
  const { data } = event;
  const unit = data.unit ?? "";
  return (
    <li>
      <button type="button" className="row" aria-current={current ? "true" : undefined} onClick={onChoose}>
        <span className="subject">{data.subject || data.predictionId}</span>
        <span className="value">{amount(number(data.prediction), unit)}</span>
        <Provenance event={event} />
        <Signed value={number(data.prediction) - number(data.baseValue)} unit={unit} />
      </button>
    </li>
  );
}

/** The newest valuation, but each for long enough to be read. */
function useFollowed(newest: ShapEvent | null): ShapEvent | null {
  const [shown, setShown] = useState<{ event: ShapEvent; since: number } | null>(null);
  const shownId = shown?.event.id ?? null;
  const since = shown?.since ?? 0;
  useEffect(() => {
    if (newest === null || newest.id === shownId) return;
    const show = () => setShown({ event: newest, since: performance.now() });
    if (isDue(shownId, newest.id, since, performance.now(), DWELL_MS)) {
      show();
      return;
    }
    const timer = setTimeout(show, since + DWELL_MS - performance.now());
    return () => clearTimeout(timer);
  }, [newest, shownId, since]);
  return shown?.event ?? newest;
}

function isShap(event: { type: string }): event is ShapEvent {
  return event.type === "lanecast.ai.v1.ShapExplanation";
}

/** The newest event of each prediction: one that streams in is one valuation. */
function oneEach(events: readonly ShapEvent[]): ShapEvent[] {
  const seen = new Set<string>();
  return events.filter(({ id, data: { predictionId = id } }) => {
    if (seen.has(predictionId)) return false;
    seen.add(predictionId);
    return true;
  });
}
