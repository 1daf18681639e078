// What is recommended for each segment, how sure the learner is, and how that has changed. Pure; used by the strategy
// page.

import type { RecommendationEvent } from "@lanecast/client/react";
import { number } from "../format.ts";

export interface Point {
  readonly at: number;
  readonly value: number;
}

export interface Change {
  readonly at: number;
  readonly from: string;
  readonly to: string;
}

export interface ActionFigures {
  readonly action: string;
  readonly trials: number;
  readonly successes: number;
  readonly mean: number;
  readonly probabilityBest: number;
}

export interface Segment {
  readonly segment: string;
  /** The newest event. */
  readonly newest: RecommendationEvent;
  /** What to do: the newest recommendation that was not made to learn more, if there is one. */
  readonly action: string;
  readonly rationale: string;
  readonly expected: number;
  readonly lower: number;
  readonly upper: number;
  readonly mass: number;
  readonly probabilityBest: number | null;
  /** The action that is being tried just now only to learn more; null: none. */
  readonly trying: string | null;
  readonly evidence: readonly ActionFigures[];
  /** Expected reward of what was recommended, oldest first. */
  readonly points: readonly Point[];
  /** Newest first. */
  readonly changes: readonly Change[];
}

/** The segments, best expected reward first. Events are oldest first. */
export function segments(events: readonly RecommendationEvent[]): Segment[] {
  const bySegment = new Map<string, RecommendationEvent[]>();
  for (const event of events) {
    const name = event.data.segment ?? "";
    const list = bySegment.get(name);
    if (list) list.push(event);
    else bySegment.set(name, [event]);
  }
  return [...bySegment]
    .map(([name, list]) => segment(name, list))
    .filter((found) => found !== null)
    .sort((a, b) => b.expected - a.expected || a.segment.localeCompare(b.segment));
}

function segment(name: string, events: readonly RecommendationEvent[]): Segment | null {
  const newest = events.at(-1);
  if (!newest) return null;
  const meant = events.filter(({ data }) => !data.exploratory);
  // Figures, reason and evidence are of one moment, or they would contradict one another.
  const { data } = meant.at(-1) ?? newest;
  const evidence = evidenceOf(data);
  const action = data.action ?? "";
  const trying = newest.data.exploratory && newest.data.action !== action ? (newest.data.action ?? "") : null;
  return {
    segment: name,
    newest,
    action,
    rationale: data.rationale ?? "",
    expected: number(data.expectedReward),
    lower: number(data.rewardLower),
    upper: number(data.rewardUpper),
    mass: number(data.intervalMass),
    probabilityBest: evidence.find((figures) => figures.action === action)?.probabilityBest ?? null,
    trying,
    evidence,
    points: meant.map((event) => ({ at: timeOf(event), value: number(event.data.expectedReward) })),
    changes: changesOf(meant),
  };
}

function changesOf(events: readonly RecommendationEvent[]): Change[] {
  const changes: Change[] = [];
  let before: string | null = null;
  for (const event of events) {
    const action = event.data.action ?? "";
    if (before !== null && before !== action) changes.unshift({ at: timeOf(event), from: before, to: action });
    before = action;
  }
  return changes;
}

function evidenceOf(data: RecommendationEvent["data"]): ActionFigures[] {
  return (data.evidence ?? [])
    .map((item) => ({
      action: item.action ?? "",
      trials: number(item.trials),
      successes: number(item.successes),
      mean: number(item.meanReward),
      probabilityBest: number(item.probabilityBest),
    }))
    .sort((a, b) => b.mean - a.mean || b.probabilityBest - a.probabilityBest);
}

function timeOf(event: RecommendationEvent): number {
  return event.createTime?.getTime() ?? 0;
}

/** Points of a line in a box of `width` by `height`, and the least and greatest value it is scaled to. */
export function polyline(points: readonly Point[], width: number, height: number): string {
  const first = points[0];
  if (!first) return "";
  const values = points.map(({ value }) => value);
  const low = Math.min(...values);
  const span = Math.max(...values) - low;
  const step = points.length > 1 ? width / (points.length - 1) : 0;
  return points
    .map(({ value }, index) => {
      const y = span > 0 ? height - ((value - low) / span) * height : height / 2;
      return `${(index * step).toFixed(1)},${y.toFixed(1)}`;
    })
    .join(" ");
}
