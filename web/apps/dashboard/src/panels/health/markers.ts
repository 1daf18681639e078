// When rollouts moved channels: marks for the charts, so that a change of latency can be laid beside them.

import { useStore } from "@lanecast/shared/store";
import { useEffect, useState } from "react";
import { get } from "../../data/api.ts";
import { newestFirst } from "../../data/operations.ts";
import type { RolloutJson } from "../../data/types.ts";
import type { Live } from "../../live.ts";
import type { Marker } from "./series.ts";

interface EntryJson {
  readonly time: string;
  readonly kind: string;
  readonly dataJson: string;
}

/** Rollouts looked at: the newest, since a chart shows the newest hours. */
const NEWEST = 3;

/** The moments at which the exposure changed. */
export function marksOf(entries: readonly EntryJson[]): Marker[] {
  const marks: Marker[] = [];
  let before = 0;
  for (const entry of entries) {
    if (entry.kind !== "moved") continue;
    const { exposure, state } = JSON.parse(entry.dataJson) as { exposure?: number; state?: string };
    if (exposure === undefined || exposure === before) continue;
    before = exposure;
    const text = exposure === 0 ? (state === "ROLLING_BACK" ? "↩ back" : "0 %") : `${exposure / 100} %`;
    marks.push({ at: Date.parse(entry.time) / 1_000, text });
  }
  return marks;
}

export function useMarkers(live: Live): readonly Marker[] {
  const { all } = useStore(live.operations.rollouts);
  const newest = newestFirst(all.values()).slice(0, NEWEST);
  const [marks, setMarks] = useState<readonly Marker[]>([]);
  const versions = newest.map((rollout: RolloutJson) => `${rollout.id}/${rollout.version}`).join(" ");
  useEffect(() => {
    const ids = versions === "" ? [] : versions.split(" ").map((text) => text.split("/")[0] ?? "");
    const stop = new AbortController();
    Promise.all(ids.map((id) => get<{ entries: EntryJson[] }>(`/rollouts/${id}/history`, stop.signal)))
      .then((found) => setMarks(found.flatMap(({ entries }) => marksOf(entries))))
      .catch(() => undefined); // the charts do without marks; the rollout's own view says what is wrong
    return () => stop.abort();
  }, [versions]);
  return marks;
}
