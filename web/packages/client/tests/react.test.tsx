// @vitest-environment jsdom
// The hooks in a real React, against a gateway in memory.

import { act, cleanup, render, screen } from "@testing-library/react";
import { StrictMode } from "react";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type AiEvents, type Client, createClient, type Kept, type OfflineCache } from "../src/index.ts";
import {
  LanecastProvider,
  OTHER_FEATURES,
  useChannel,
  useChannelReducer,
  useConciergeInsights,
  useConnection,
  useLatency,
  waterfall,
} from "../src/react/index.ts";
import { batch, FakeGateway, subscribed } from "./fake-gateway.ts";

let gateway: FakeGateway;
let client: Client<AiEvents>;
let renders: number;

function makeClient(offline?: OfflineCache): Client<AiEvents> {
  client = createClient<AiEvents>({
    url: "ws://gateway.test/v1/ws",
    getToken: () => "token-1",
    codec: "json",
    environment: gateway.environment,
    ...(offline ? { offline } : {}),
  });
  return client;
}

function show(children: React.ReactNode): ReturnType<typeof render> {
  return render(
    <StrictMode>
      <LanecastProvider client={client}>{children}</LanecastProvider>
    </StrictMode>,
  );
}

function Events({ name = "agent:42", limit = 3 }: { name?: string; limit?: number }) {
  renders += 1;
  const { events, ready, gap, error } = useChannel<AiEvents>(name, { limit, lanes: ["CRITICAL"] });
  const offsets = events.map(({ offset, delivery }) => `${delivery}:${offset}`).join(" ");
  return <p role="status">{[ready ? "ready" : "waiting", offsets, gap?.reason, error?.code].join("|")}</p>;
}

function Sum({ factor }: { factor: number }) {
  const reduce = (sum: number, { offset }: { offset: bigint }) => sum + factor * Number(offset);
  return <p role="status">{useChannelReducer<number, AiEvents>("agent:42", reduce, 0).state}</p>;
}

function Status() {
  return <p role="status">{useConnection().status}</p>;
}

function Figures() {
  return <p role="status">{JSON.stringify(useLatency("agent:42")?.count ?? null)}</p>;
}

function Insights() {
  const { insights, freshness } = useConciergeInsights("agent:42");
  return <p role="status">{[freshness, ...insights.map((i) => `${i.delivery}:${i.data.text}`)].join("|")}</p>;
}

const text = () => screen.getByRole("status").textContent;
const frame = () => act(() => vi.advanceTimersByTimeAsync(20));

async function live(at = 10) {
  const socket = await act(() => gateway.welcome());
  await act(async () => socket.push(subscribed("agent:42", [["CRITICAL", "e1", at]])));
  await frame();
  return socket;
}

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) });
  gateway = new FakeGateway();
  renders = 0;
});

afterEach(() => {
  cleanup();
  client.close();
  vi.useRealTimers();
});

describe("useChannel", () => {
  test("opens one socket and one subscription in StrictMode, however many components look", async () => {
    makeClient();
    show(
      <>
        <Events />
        <Events name="agent:43" />
      </>,
    );
    const socket = await act(() => gateway.welcome());
    await act(() => vi.advanceTimersByTimeAsync(5_000));
    expect(gateway.sockets).toHaveLength(1);
    expect(socket.commands("subscribe").map(({ channel }) => channel)).toEqual(["agent:42", "agent:43"]);
    expect(socket.commands("unsubscribe")).toEqual([]);
  });

  test("shows the newest events, and renders once a frame whatever the rate", async () => {
    makeClient();
    show(<Events />);
    const socket = await live();
    const before = renders;
    await act(async () => {
      for (let n = 11; n <= 60; n++) socket.push(batch("agent:42", "CRITICAL", "e1", [[n - 1, n]]));
    });
    await frame();
    expect(text()).toBe("ready|live:58 live:59 live:60||");
    // StrictMode renders twice.
    expect(renders - before).toBe(2);
  });

  test("an event that changes nothing renders nothing", async () => {
    makeClient();
    show(<Events />);
    const socket = await live();
    const before = renders;
    await act(async () => socket.push(batch("agent:42", "CRITICAL", "e1", [[9, 10]])));
    await frame();
    expect(renders).toBe(before);
  });

  test("names a gap, and the reason a subscription has ended", async () => {
    makeClient();
    show(<Events />);
    const socket = await live();
    await act(async () =>
      socket.push({
        gap: {
          channel: "agent:42",
          lane: "PRIORITY_CRITICAL",
          epoch: "e1",
          fromOffset: "10",
          toOffset: "20",
          reason: "GAP_REASON_TRUNCATED",
          count: 3,
        },
      }),
    );
    await frame();
    expect(text()).toBe("ready||TRUNCATED|");
  });

  test("ends the subscription a second after the last component has gone, not before", async () => {
    makeClient();
    const { unmount } = show(<Events />);
    const socket = await live();
    unmount();
    await vi.advanceTimersByTimeAsync(900);
    expect(socket.commands("unsubscribe")).toEqual([]);
    await vi.advanceTimersByTimeAsync(200);
    expect(socket.commands("unsubscribe")).toEqual([{ channel: "agent:42" }]);
  });

  test("a component that comes back finds what was shown", async () => {
    makeClient();
    const { unmount } = show(<Events />);
    const socket = await live();
    await act(async () => socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]])));
    await frame();
    unmount();
    show(<Events />);
    expect(text()).toBe("ready|live:11||");
  });

  test("says what to do where there is no provider", () => {
    makeClient();
    const quiet = vi.spyOn(console, "error").mockImplementation(() => {});
    expect(() => render(<Events />)).toThrow("put <LanecastProvider client={…}> above this component");
    quiet.mockRestore();
  });
});

test("useChannelReducer folds events with the newest reducer", async () => {
  makeClient();
  const { rerender } = show(<Sum factor={1} />);
  const socket = await live();
  await act(async () => socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]])));
  await frame();
  rerender(
    <StrictMode>
      <LanecastProvider client={client}>
        <Sum factor={100} />
      </LanecastProvider>
    </StrictMode>,
  );
  await act(async () => socket.push(batch("agent:42", "CRITICAL", "e1", [[11, 12]])));
  await frame();
  expect(text()).toBe("1211");
});

test("useConnection follows the client", async () => {
  makeClient();
  show(<Status />);
  expect(text()).toBe("idle");
  client.connect().catch(() => {});
  await act(() => gateway.welcome());
  expect(text()).toBe("connected");
  await act(async () => gateway.socket.drop(1006));
  expect(text()).toBe("reconnecting");
});

test("useLatency is null until something live was measured", async () => {
  makeClient();
  show(<Figures />);
  const socket = await live();
  expect(text()).toBe("null");
  await act(async () => socket.push(batch("agent:42", "CRITICAL", "e1", [[10, 11]], { replayed: true })));
  await frame();
  expect(text()).toBe("null");
});

describe("useConciergeInsights", () => {
  const kept: Kept = {
    positions: [{ lane: "CRITICAL", epoch: "e1", offset: 7n }],
    events: [
      {
        channel: "agent:42",
        lane: "CRITICAL",
        epoch: "e1",
        offset: 7n,
        id: "id-7",
        source: "test",
        type: "lanecast.ai.v1.ConciergeInsight",
        data: { text: "kept" },
        createTime: null,
        policy: "",
        arm: null,
        traceContext: new Uint8Array(),
      },
    ],
  };

  test("shows what the device has kept, then what was missed, then what comes", async () => {
    const keeps: [string, number, string][] = [];
    makeClient({
      restore: async () => kept,
      keep: (channel, events, positions) =>
        keeps.push([channel, events.length, positions.map(({ offset }) => offset).join()]),
    });
    show(<Insights />);
    await frame();
    expect(text()).toBe("cached|cached:kept");

    const socket = await act(() => gateway.welcome());
    expect(socket.commands("subscribe")[0]).toMatchObject({
      positions: [{ lane: "PRIORITY_CRITICAL", epoch: "e1", offset: "7" }],
    });
    await act(async () => {
      socket.push(subscribed("agent:42", [["CRITICAL", "e1", 7]], { wasRecovering: true, recovered: true }));
      socket.push(batch("agent:42", "CRITICAL", "e1", [[7, 8]], { replayed: true }));
    });
    await frame();
    expect(text()).toBe("recovered|recovered:event 8|cached:kept");

    await act(async () => socket.push(batch("agent:42", "CRITICAL", "e1", [[8, 9]])));
    await frame();
    expect(text()).toBe("live|live:event 9|recovered:event 8|cached:kept");
    expect(keeps).toEqual([
      ["agent:42", 0, "7"],
      ["agent:42", 1, "8"],
      ["agent:42", 1, "9"],
    ]);
  });

  test("asks for nothing before it knows where the device stands", async () => {
    let found: (kept: Kept) => void = () => {};
    makeClient({ restore: () => new Promise((resolve) => (found = resolve)), keep: () => {} });
    show(<Insights />);
    const socket = await act(() => gateway.welcome());
    await frame();
    expect(socket.commands("subscribe")).toEqual([]);
    await act(async () => found(kept));
    expect(socket.commands("subscribe")).toHaveLength(1);
  });
});

describe("waterfall", () => {
  const contributions = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ feature: `f${index}`, contribution: index - 3 }));

  test("always ends at the prediction, whatever is listed", () => {
    const bars = waterfall({ baseValue: 100, prediction: 150, contributions: contributions(14) });
    expect(bars).toHaveLength(11);
    expect(bars[0]).toMatchObject({ feature: "f13", from: 100, to: 110 });
    expect(bars.at(-1)).toMatchObject({ feature: OTHER_FEATURES, to: 150 });
    for (const [index, bar] of bars.entries()) expect(bar.from).toBe(index ? bars[index - 1]?.to : 100);
  });

  test("has no bar for a rest within the tolerance of floating point", () => {
    const bars = waterfall({
      baseValue: 1,
      prediction: 3.0000001,
      tolerance: 1e-6,
      contributions: [{ feature: "a", contribution: 2 }],
    });
    expect(bars.map(({ feature }) => feature)).toEqual(["a"]);
  });
});
