// Reports: what can be handed to others. Created here or by the calendar, kept by the service.

import { useStore } from "@lanecast/shared/store";
import { useState } from "react";
import { access, noteAllowed, noteRefusal } from "../../access.ts";
import { announce } from "../../announce.ts";
import { Panel } from "../../components/panel.tsx";
import { API, explain, get, post } from "../../data/api.ts";
import { time } from "../../data/protojson.ts";
import { Resource, useResource } from "../../data/resource.ts";
import type { ReportJson } from "../../data/types.ts";
import { uuid } from "../../data/uuid.ts";
import { moment } from "../../words.ts";

const REPORTS = new Resource((signal) => get<{ reports: ReportJson[] }>("/reports?page_size=50", signal), 30_000);

const PERIODS = [
  [3_600, "the last hour"],
  [86_400, "the last day"],
  [604_800, "the last week"],
] as const;

const COLUMNS = [
  { key: "title", label: "title" },
  { key: "kind", label: "kind" },
  { key: "made", label: "made" },
  { key: "start", label: "from" },
  { key: "end", label: "to" },
] as const;

export function ReportsPanel() {
  const { data, problem } = useResource(REPORTS);
  const { role } = useStore(access);
  const reports = data?.reports ?? [];
  const notice = problem
    ? ({ kind: data ? "stale" : "error", text: `${problem}.` } as const)
    : data === null
      ? ({ kind: "loading", text: "Asking for reports." } as const)
      : null;
  return (
    <Panel
      title="Reports"
      question="What do I hand to others?"
      notice={notice}
      table={{ file: "reports", columns: COLUMNS, rows: reports.map(rowOf) }}
    >
      {role !== "reader" && <CreateForm />}
      {reports.length === 0 ? (
        <p className="notice" data-kind="empty">
          <span aria-hidden="true">○</span> No report yet: create one, or wait for the one of midnight.
        </p>
      ) : (
        <ul className="reports">
          {reports.map((report) => (
            <li key={report.id}>
              <span>
                <strong>{report.title}</strong>
                <span className="muted figure">made {moment(time(report.createTime))}</span>
              </span>
              <span className="links">
                {(["html", "md", "json"] as const).map((form) => (
                  <a
                    key={form}
                    href={`${API}/reports/${report.id}?format=${form}`}
                    target="_blank"
                    rel="noreferrer"
                    aria-label={`${report.title} as ${form}, in a new tab`}
                  >
                    {form}
                  </a>
                ))}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function CreateForm() {
  const [kind, setKind] = useState("REPORT_KIND_PERFORMANCE");
  const [period, setPeriod] = useState<number>(3_600);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const create = async () => {
    setBusy(true);
    setProblem("");
    try {
      const startTime = new Date(Date.now() - period * 1_000).toISOString();
      await post("/reports", { requestId: uuid(), startTime, kind });
      noteAllowed();
      await REPORTS.refresh();
      announce("The report is made");
    } catch (error) {
      setProblem(explain(noteRefusal(error)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      className="order"
      onSubmit={(event) => {
        event.preventDefault();
        void create();
      }}
    >
      <label className="field">
        <span>About</span>
        <select value={kind} onChange={(event) => setKind(event.target.value)}>
          <option value="REPORT_KIND_PERFORMANCE">performance</option>
          <option value="REPORT_KIND_SLA">service levels</option>
        </select>
      </label>
      <label className="field">
        <span>Over</span>
        <select value={period} onChange={(event) => setPeriod(Number(event.target.value))}>
          {PERIODS.map(([seconds, label]) => (
            <option key={seconds} value={seconds}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <div className="order-actions">
        <button type="submit" className="primary" disabled={busy}>
          {busy ? "Working…" : "Create the report"}
        </button>
        {problem !== "" && (
          <p className="notice" data-kind="error" role="alert">
            ✕ {problem}
          </p>
        )}
      </div>
    </form>
  );
}

function rowOf(report: ReportJson) {
  return {
    title: { value: report.title },
    kind: { value: report.kind === "REPORT_KIND_SLA" ? "service levels" : "performance" },
    made: { value: report.createTime, text: moment(time(report.createTime)) },
    start: { value: report.startTime, text: moment(time(report.startTime)) },
    end: { value: report.endTime, text: moment(time(report.endTime)) },
  };
}
