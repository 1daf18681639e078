// A performance test: its order, its run over HTTP, and what is known of it while it runs.

import { Store } from "@lanecast/shared/store";
import { noteRefusal } from "../../access.ts";
import { API, ApiError, explain, postOptions, refusal } from "../../data/api.ts";
import { serverEvents } from "../../data/event-stream.ts";

export interface Order {
  readonly eventsPerSecond: number;
  readonly seconds: number;
  readonly subscribers: number;
  /** Weights of the lanes, critical first. */
  readonly mix: readonly [number, number, number, number];
}

export const USUAL: Order = { eventsPerSecond: 500, seconds: 10, subscribers: 10, mix: [1, 9, 60, 30] };

export interface FigureJson {
  readonly scope: string;
  readonly lane: string;
  readonly count: string;
  readonly p50Seconds: number;
  readonly p99Seconds: number;
  readonly p999Seconds: number;
  readonly budgetSeconds: number;
  readonly withinBudget: number;
}

export interface ProgressJson {
  readonly progress: number;
  readonly sent: string;
  readonly received: string;
  readonly planned: string;
  readonly rejected: string;
  readonly lost: string;
  readonly duplicated: string;
  readonly grade: string;
  readonly figures: readonly FigureJson[];
  readonly latenessP99Seconds: number;
  readonly remarks: readonly string[];
}

export interface Run {
  readonly state: "idle" | "running" | "done" | "failed" | "stopped";
  readonly progress: ProgressJson | null;
  readonly problem: string;
}

const IDLE: Run = { state: "idle", progress: null, problem: "" };

/** One test at a time; it goes on while another view is open, and ends with the page. */
export class PerformanceTest {
  readonly run = new Store<Run>(IDLE);
  #stop: AbortController | null = null;

  async start(order: Order): Promise<void> {
    if (this.#stop !== null) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.run.set({ ...IDLE, state: "running" });
    try {
      await this.#follow(order, stop.signal);
    } catch (error) {
      const stopped = stop.signal.aborted;
      this.#set({ state: stopped ? "stopped" : "failed", problem: stopped ? "" : explain(noteRefusal(error)) });
    } finally {
      this.#stop = null;
    }
  }

  /** Ends the test: the service stops it once its reader has gone. */
  stop(): void {
    this.#stop?.abort();
  }

  async #follow(order: Order, signal: AbortSignal): Promise<void> {
    const response = await fetch(`${API}/performance-test`, { ...postOptions(bodyOf(order)), signal });
    if (!response.ok) throw await refusal(response);
    for await (const { name, data } of serverEvents(response)) {
      if (name === "failed") {
        const { reason, message } = JSON.parse(data) as { reason: string; message: string };
        throw new ApiError(200, reason, message);
      }
      this.#set({ progress: JSON.parse(data) as ProgressJson, state: name === "result" ? "done" : "running" });
    }
    if (this.run.get().state === "running") {
      throw new ApiError(0, "CUT", "the test ended without a result: look into the log of metrics_svc");
    }
  }

  #set(change: Partial<Run>): void {
    this.run.set({ ...this.run.get(), ...change });
  }
}

export function bodyOf({ eventsPerSecond, seconds, subscribers, mix }: Order): object {
  const lanes = ["CRITICAL", "HIGH", "NORMAL", "LOW"];
  return {
    eventsPerSecond,
    duration: `${seconds}s`,
    subscribers,
    mix: lanes.map((lane, index) => ({ lane: `PRIORITY_${lane}`, weight: mix[index] ?? 0 })),
  };
}

/** Why an order cannot be run, as a sentence; empty where it can. */
export function problemOf({ eventsPerSecond, seconds, subscribers, mix }: Order): string {
  if (!(eventsPerSecond >= 1 && eventsPerSecond <= 50_000)) return "Give 1 to 50,000 events per second.";
  if (!(seconds >= 1 && seconds <= 600)) return "Give 1 to 600 seconds.";
  if (!(subscribers >= 1 && subscribers <= 1_000)) return "Give 1 to 1,000 subscribers.";
  if (mix.some((weight) => !(weight >= 0)) || !mix.some((weight) => weight > 0))
    return "Give one lane a share above 0.";
  return "";
}
