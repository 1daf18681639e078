// What needs me: alerts that fire, then those that are about to, then those that are over.

import { useStore } from "@lanecast/shared/store";
import { useState } from "react";
import { access } from "../access.ts";
import { announce } from "../announce.ts";
import { Dialog } from "../components/dialog.tsx";
import { Panel } from "../components/panel.tsx";
import { Shape } from "../components/shape.tsx";
import { post } from "../data/api.ts";
import { duration, name, time } from "../data/protojson.ts";
import type { AlertJson } from "../data/types.ts";
import { LANE_INFO } from "../lanes.ts";
import type { Live } from "../live.ts";
import { useNow } from "../now.ts";
import { moment, span } from "../words.ts";
import "../styles/alerts.css";

const COLUMNS = [
  { key: "id", label: "alert" },
  { key: "state", label: "state" },
  { key: "severity", label: "severity" },
  { key: "start", label: "since" },
  { key: "end", label: "until" },
  { key: "by", label: "acknowledged by" },
  { key: "summary", label: "summary" },
] as const;

const SECTIONS = [
  { state: "FIRING", label: "Firing", none: "Nothing fires." },
  { state: "PENDING", label: "Pending", none: "Nothing is about to." },
  { state: "RESOLVED", label: "Resolved", none: "Nothing was resolved in the time that is kept." },
] as const;

/** Resolved alerts shown; the API has all that are kept. */
const RESOLVED_SHOWN = 20;

export default function Alerts({ live }: { live: Live }) {
  const { all, loaded } = useStore(live.operations.alerts);
  const { role, why } = useStore(access);
  const [chosen, choose] = useState<AlertJson | null>(null);
  const alerts = [...all.values()].sort((a, b) => Date.parse(b.startTime) - Date.parse(a.startTime));
  const notice = loaded
    ? alerts.length === 0
      ? ({ kind: "empty", text: "No alert in the time that is kept. Rules and limits are in docs/alerts.md." } as const)
      : null
    : ({ kind: "loading", text: "Asking for alerts." } as const);
  return (
    <Panel
      title="Alerts"
      question="What needs me?"
      notice={notice}
      table={{ file: "alerts", columns: COLUMNS, rows: alerts.map(rowOf) }}
    >
      {role === "reader" && <p className="muted">Read only: {why}</p>}
      {SECTIONS.map(({ state, label, none }) => {
        const found = alerts.filter((alert) => name(alert.state, "ALERT_STATE_") === state);
        return (
          <section key={state} className="alert-group" aria-label={`${label} alerts`}>
            <h3>
              {label} <span className="muted">{found.length}</span>
            </h3>
            {found.length === 0 ? (
              <p className="muted">{none}</p>
            ) : (
              <ul>
                {found.slice(0, state === "RESOLVED" ? RESOLVED_SHOWN : found.length).map((alert) => (
                  <Alert key={alert.id} alert={alert} disabled={role === "reader"} onTake={() => choose(alert)} />
                ))}
              </ul>
            )}
          </section>
        );
      })}
      {chosen && <TakeDialog alert={chosen} live={live} onClose={() => choose(null)} />}
    </Panel>
  );
}

function rowOf(alert: AlertJson) {
  return {
    id: { value: alert.id },
    state: { value: name(alert.state, "ALERT_STATE_").toLowerCase() },
    severity: { value: name(alert.severity, "ALERT_SEVERITY_").toLowerCase() },
    start: { value: alert.startTime, text: moment(time(alert.startTime)) },
    end: { value: alert.endTime ?? "", text: moment(time(alert.endTime)) },
    by: { value: alert.acknowledgedBy },
    summary: { value: alert.summary },
  };
}

const MARKS: Readonly<Record<string, string>> = { FIRING: "▲", PENDING: "◔", RESOLVED: "✓" };

function Alert({ alert, disabled, onTake }: { alert: AlertJson; disabled: boolean; onTake: () => void }) {
  const now = useNow();
  const state = name(alert.state, "ALERT_STATE_");
  const severity = name(alert.severity, "ALERT_SEVERITY_").toLowerCase();
  const lane = LANE_INFO.find((info) => alert.lane === `PRIORITY_${info.lane}`);
  const since = time(alert.startTime) ?? now;
  const end = time(alert.endTime);
  const action = alert.acknowledgedBy === "" ? "Acknowledge" : "Change";
  const [what, advice] = halves(alert.summary);
  const silent = time(alert.silencedUntil);
  return (
    <li className="alert" data-state={state} data-severity={severity} data-taken={alert.acknowledgedBy !== ""}>
      <span className="alert-mark" aria-hidden="true">
        {MARKS[state]}
      </span>
      <div>
        <p className="alert-title">
          <strong>{alert.rule}</strong>
          <span className="tag" data-severity={severity}>
            {severity}
          </span>
          {lane && (
            <span className="muted">
              <Shape lane={lane.lane} /> {lane.label}
            </span>
          )}
        </p>
        <p>
          {what} {state === "FIRING" && <span className="muted">{advice}</span>}
        </p>
        <p className="muted figure">
          {end === null
            ? `since ${moment(since)}, ${span((now - since) / 1_000)}`
            : `${moment(since)}, for ${span((end - since) / 1_000)}`}
          {alert.acknowledgedBy !== "" && ` · taken by ${alert.acknowledgedBy}`}
          {silent !== null && silent > now && ` · silent until ${moment(silent)}`}
        </p>
      </div>
      {state !== "RESOLVED" && (
        <button type="button" disabled={disabled} onClick={onTake} aria-label={`${action}: ${alert.rule}`}>
          {action}
        </button>
      )}
    </li>
  );
}

/** What is wrong, and what there is to know and to do about it. */
function halves(summary: string): readonly [string, string] {
  const end = summary.indexOf(". ");
  return end < 0 ? [summary, ""] : [summary.slice(0, end + 1), summary.slice(end + 2)];
}

const SILENCES = [
  [0, "do not silence"],
  [3_600, "for 1 hour"],
  [14_400, "for 4 hours"],
  [86_400, "for 1 day"],
] as const;

function TakeDialog({ alert, live, onClose }: { alert: AlertJson; live: Live; onClose: () => void }) {
  const [silence, setSilence] = useState(0);
  return (
    <Dialog
      title="Acknowledge the alert"
      confirm="Acknowledge"
      reason="Note"
      onClose={onClose}
      onConfirm={async ({ actor, reason }) => {
        const body = { id: alert.id, actor, comment: reason, ...(silence > 0 ? { silence: duration(silence) } : {}) };
        live.operations.takeAlert((await post<{ alert: AlertJson }>("/alerts", body)).alert);
        announce(`${alert.rule} is acknowledged`);
      }}
    >
      <p>
        <strong>{alert.rule}</strong>: {alert.summary}
      </p>
      <label className="field">
        <span>Hold back notifications</span>
        <select value={silence} onChange={(event) => setSilence(Number(event.target.value))}>
          {SILENCES.map(([seconds, label]) => (
            <option key={seconds} value={seconds}>
              {label}
            </option>
          ))}
        </select>
      </label>
    </Dialog>
  );
}
