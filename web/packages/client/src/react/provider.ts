// Gives a client to the components below, and keeps the channel stores they share.

import { createContext, createElement, type ReactNode, useContext } from "react";
import type { Client, EventTypes } from "../types.ts";
import { type ChannelOptions, ChannelStore, type Reducer } from "./channel-store.ts";

type AnyClient = Client<EventTypes>;
type AnyStore = ChannelStore<unknown, EventTypes>;

const ClientContext = createContext<AnyClient | null>(null);
/** Stores live as long as their client: components that come and go find what was there. */
const stores = new WeakMap<AnyClient, Map<string, AnyStore>>();

export interface LanecastProviderProps<M extends EventTypes> {
  /** Made by `createClient`, outside of any component. The provider neither connects nor closes it. */
  readonly client: Client<M>;
  readonly children?: ReactNode;
}

/** Makes a client available to the hooks below it. */
export function LanecastProvider<M extends EventTypes>({ client, children }: LanecastProviderProps<M>) {
  return createElement(ClientContext.Provider, { value: client as unknown as AnyClient }, children);
}

/** The client of the nearest provider. */
export function useClient<M extends EventTypes>(): Client<M> {
  const client = useContext(ClientContext);
  if (!client) throw new Error("no Lanecast client here: put <LanecastProvider client={…}> above this component");
  return client as unknown as Client<M>;
}

/** The store that all components with the same wishes share. `kind` names the reducer. */
export function sharedStore<S, M extends EventTypes>(
  client: Client<M>,
  kind: string,
  name: string,
  options: ChannelOptions,
  make: () => { reduce: Reducer<S, M>; initial: S },
): ChannelStore<S, M> {
  const owner = client as unknown as AnyClient;
  const known = stores.get(owner) ?? new Map<string, AnyStore>();
  stores.set(owner, known);
  const key = JSON.stringify([kind, name, options.since ?? null, options.lanes ?? null], bigIntAsText);
  let store = known.get(key) as ChannelStore<S, M> | undefined;
  if (!store) {
    const { reduce, initial } = make();
    store = new ChannelStore(client, name, options, reduce, initial);
    known.set(key, store as unknown as AnyStore);
  }
  return store;
}

function bigIntAsText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}` : value;
}
