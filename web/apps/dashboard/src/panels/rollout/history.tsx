// Everything that was done to a rollout, and by it; newest first. Looks are left out: there is one every few seconds.

import { useEffect, useMemo } from "react";
import { Panel } from "../../components/panel.tsx";
import { get } from "../../data/api.ts";
import { time } from "../../data/protojson.ts";
import { Resource, useResource } from "../../data/resource.ts";
import type { RolloutJson } from "../../data/types.ts";
import { moment, words } from "../../words.ts";

interface EntryJson {
  readonly number: string;
  readonly time: string;
  readonly kind: string;
  readonly actor: string;
  readonly reason: string;
  readonly dataJson: string;
}

const COLUMNS = [
  { key: "time", label: "time" },
  { key: "what", label: "what" },
  { key: "who", label: "who" },
  { key: "why", label: "why" },
] as const;

export function History({ rollout }: { rollout: RolloutJson }) {
  const { id, version } = rollout;
  const resource = useMemo(
    () => new Resource((signal) => get<{ entries: EntryJson[] }>(`/rollouts/${id}/history`, signal), 60_000),
    [id],
  );
  const { data, problem } = useResource(resource);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new version is what makes the history old
  useEffect(() => void resource.refresh(), [resource, version]);
  const entries = (data?.entries ?? []).filter(({ kind }) => kind !== "look").reverse();
  const rows = entries.map((entry) => ({
    time: { value: entry.time, text: moment(time(entry.time)) },
    what: { value: titleOf(entry) },
    who: { value: entry.actor || "lanecast" },
    why: { value: entry.reason },
  }));
  const empty = problem
    ? ({ kind: "error", text: `${problem}.` } as const)
    : ({ kind: "loading", text: "Asking for the history." } as const);
  return (
    <Panel
      title="History"
      question="What was done, by whom and why?"
      notice={entries.length === 0 ? empty : null}
      table={{ file: `rollout-${id}-history`, columns: COLUMNS, rows }}
    >
      <ol className="timeline">
        {entries.slice(0, 40).map((entry) => (
          <li key={entry.number} data-kind={entry.kind}>
            <time dateTime={entry.time}>{moment(time(entry.time))}</time>
            <span>
              <strong>{titleOf(entry)}</strong>
              {entry.actor && entry.actor !== "lanecast" && <span className="muted"> by {entry.actor}</span>}
              {entry.reason && <span className="timeline-reason">{entry.reason}</span>}
            </span>
          </li>
        ))}
      </ol>
    </Panel>
  );
}

function titleOf(entry: EntryJson): string {
  const data = JSON.parse(entry.dataJson || "{}") as { verb?: string; state?: string; exposure?: number };
  if (entry.kind === "verb") return `${data.verb ?? "verb"} asked for`;
  if (entry.kind === "moved") {
    const share = data.exposure === undefined ? "" : `, ${data.exposure / 100} %`;
    return `${words(data.state ?? "moved")}${share}`;
  }
  return entry.kind;
}
