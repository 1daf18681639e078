// The hooks: connection, channels and latency. Each re-renders its component at most once a frame.

import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { Lane } from "../frames.ts";
import type { LatencyGrade } from "../latency.ts";
import type { Client, ConnectionState, EventTypes, LanecastEvent } from "../types.ts";
import { type ChannelOptions, type ChannelStatus, ChannelStore, type Reducer, type Snapshot } from "./channel-store.ts";
import { type Figures, LatencyWindow } from "./latency-window.ts";
import { sharedStore, useClient } from "./provider.ts";

/** Newest events a channel keeps for its components unless they say otherwise. */
const KEPT_EVENTS = 100;

/** The state of the connection. */
export function useConnection(): ConnectionState {
  const client = useClient();
  return useSyncExternalStore(
    (listener) => client.onState(listener),
    () => client.state,
    () => client.state,
  );
}

export interface UseChannelOptions extends ChannelOptions {
  /** Newest events to keep. Default: 100. */
  readonly limit?: number;
  /** False: nothing is subscribed. Default: true. */
  readonly enabled?: boolean;
}

export interface ChannelView<M extends EventTypes> extends ChannelStatus {
  /** Oldest first. Events that were kept on the device come first, then recovered ones, then live ones. */
  readonly events: readonly LanecastEvent<M>[];
  readonly latest: LanecastEvent<M> | null;
}

/** The newest events of a channel. */
export function useChannel<M extends EventTypes = Record<string, unknown>>(
  name: string,
  { limit = KEPT_EVENTS, enabled = true, since, lanes }: UseChannelOptions = {},
): ChannelView<M> {
  const client = useClient<M>();
  const store = useMemoByText([name, limit, since, lanes, client], () =>
    sharedStore<readonly LanecastEvent<M>[], M>(client, `newest-${limit}`, name, channelOptions(since, lanes), () => ({
      reduce: (events, event) => newest(events, event, limit),
      initial: [],
    })),
  );
  const { state, ...status } = useStore(store, enabled);
  return useMemo(
    () => ({ ready: status.ready, error: status.error, gap: status.gap, events: state, latest: state.at(-1) ?? null }),
    [state, status.ready, status.error, status.gap],
  );
}

/** A state that each event of a channel is folded into. It belongs to this component; `initial` counts once. */
export function useChannelReducer<S, M extends EventTypes = Record<string, unknown>>(
  name: string,
  reduce: Reducer<S, M>,
  initial: S,
  { enabled = true, since, lanes }: Omit<UseChannelOptions, "limit"> = {},
): Snapshot<S> {
  const client = useClient<M>();
  const first = useRef(initial);
  const store = useMemoByText(
    [name, since, lanes, client],
    () => new ChannelStore<S, M>(client, name, channelOptions(since, lanes), reduce, first.current),
  );
  useEffect(() => store.setReducer(reduce), [store, reduce]);
  return useStore(store, enabled);
}

export interface LatencyView extends Figures {
  /** How the median compares with the thresholds of 10, 50 and 100 ms; `unknown` where the clocks do not allow it. */
  readonly grade: LatencyGrade;
}

/** How long live events of a channel were on their way to this browser; null until there is one. */
export function useLatency(
  name: string,
  { lanes, enabled = true }: { lanes?: readonly Lane[]; enabled?: boolean } = {},
): LatencyView | null {
  const client = useClient<Record<string, unknown>>();
  const store = useMemoByText([name, lanes, client], () =>
    sharedStore<LatencyWindow, Record<string, unknown>>(
      client,
      "latency",
      name,
      channelOptions(undefined, lanes),
      () => ({
        reduce: (window, event) => window.with(event.latency),
        initial: LatencyWindow.EMPTY,
      }),
    ),
  );
  const { state } = useStore(store, enabled);
  return useMemo(() => state.view(), [state]);
}

/** The newest `limit` events with one more; an event that is there already, by its id, is replaced. */
function newest<E extends { readonly id: string }>(events: readonly E[], event: E, limit: number): readonly E[] {
  const others = events.some(({ id }) => id === event.id) ? events.filter(({ id }) => id !== event.id) : events;
  return [...others.slice(Math.max(0, others.length + 1 - limit)), event];
}

function useStore<S, M extends EventTypes>(store: ChannelStore<S, M>, enabled: boolean): Snapshot<S> {
  return useSyncExternalStore(enabled ? store.subscribe : ignore, store.getSnapshot, store.getSnapshot);
}

function ignore(): () => void {
  return () => {};
}

function channelOptions(since: ChannelOptions["since"], lanes: ChannelOptions["lanes"]): ChannelOptions {
  return { ...(since === undefined ? {} : { since }), ...(lanes === undefined ? {} : { lanes }) };
}

/** `useMemo` for wishes that are written as literals: a new object with the same content makes nothing new. */
function useMemoByText<T>([...wishes]: readonly unknown[], make: () => T): T {
  const client = wishes.pop() as Client<EventTypes>;
  const text = JSON.stringify(wishes, (_key, value) => (typeof value === "bigint" ? `${value}` : value));
  const memo = useRef<{ client: Client<EventTypes>; text: string; value: T } | null>(null);
  if (memo.current?.text !== text || memo.current.client !== client) {
    memo.current = { client, text, value: make() };
  }
  return memo.current.value;
}
