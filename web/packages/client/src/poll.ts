// One poll: the request and its answer as frames. Used by the poller of a page and by the service worker; decides nothing.

import type { Since } from "./channel-state.ts";
import type { Environment } from "./environment.ts";
import type { Lane, Position, ServerFrame } from "./frames.ts";
import { decodeFrame } from "./json.ts";

/** Most channels of one poll, and most characters of what depends on them: servers refuse long addresses. */
const MAX_CHANNELS = 32;
const MAX_LENGTH = 2_400;
/** How much longer than asked an answer may take, in milliseconds. */
const GRACE_MS = 10_000;
const LANE: Lane = "CRITICAL";

/** A channel and where it stands in the polled lane. */
export interface ChannelPosition {
  readonly channel: string;
  /** Where to begin without a position. */
  readonly since: Since;
  readonly position: Position | null;
}

export interface PollAnswer {
  readonly status: number;
  readonly frames: readonly ServerFrame[];
}

/** Parts channels into those that go into one request: by where they begin, and by length. */
export function groups<C extends ChannelPosition>(channels: readonly C[]): C[][] {
  const made: { start: string; length: number; channels: C[] }[] = [];
  for (const channel of channels) {
    const start = startOf(channel.since);
    const length = encodeURIComponent(channel.channel).length + 9 + 1.4 * cursorEntry(channel).length;
    let group = made.find(
      (one) => one.start === start && one.length + length <= MAX_LENGTH && one.channels.length < MAX_CHANNELS,
    );
    if (!group) {
      group = { start, length: 0, channels: [] };
      made.push(group);
    }
    group.length += length;
    group.channels.push(channel);
  }
  return made.map(({ channels: group }) => group);
}

/** Asks once. Rejects where there is no network, or the answer cannot be read; any status of HTTP is an answer. */
export async function poll(
  url: string,
  channels: readonly ChannelPosition[],
  waitSeconds: number,
  token: string,
  fetch: Environment["fetch"],
  signal?: AbortSignal,
): Promise<PollAnswer> {
  const control = new AbortController();
  const abort = () => {
    clearTimeout(timer);
    control.abort();
  };
  const timer = setTimeout(abort, waitSeconds * 1_000 + GRACE_MS);
  signal?.addEventListener("abort", abort);
  try {
    const response = await fetch(`${url}?${query(channels, waitSeconds)}`, {
      headers: { Authorization: `Bearer ${token}` },
      cache: "no-store",
      credentials: "omit",
      signal: control.signal,
    });
    return { status: response.status, frames: await framesOf(response) };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

async function framesOf(response: Response): Promise<ServerFrame[]> {
  if (!(response.headers.get("Content-Type") ?? "").startsWith("application/json")) return [];
  const { frames } = (await response.json()) as { frames?: Parameters<typeof decodeFrame>[0][] };
  return (frames ?? []).flatMap((frame) => decodeFrame(frame) ?? []);
}

function query(channels: readonly ChannelPosition[], waitSeconds: number): string {
  const names = channels.map(({ channel }) => `channel=${encodeURIComponent(channel)}`);
  const entries = channels.map(cursorEntry).filter((entry) => entry !== "");
  const after = entries.length > 0 ? [`after=${base64Url(`{${entries.join(",")}}`)}`] : [];
  const start = channels[0] ? [startOf(channels[0].since)].filter((part) => part !== "") : [];
  return [...names, `lanes=${LANE}`, `wait=${waitSeconds}`, ...start, ...after].join("&");
}

/** The part of the cursor that is about one channel. */
function cursorEntry({ channel, position }: ChannelPosition): string {
  if (!position) return "";
  return `${JSON.stringify(channel)}:${JSON.stringify([[LANE, position.epoch, String(position.offset)]])}`;
}

/** How a request says where channels without a position begin. */
function startOf(since: Since): string {
  if (since === "earliest") return "start=EARLIEST";
  return typeof since === "object" && "last" in since ? `start=LAST_N&last=${since.last}` : "";
}

function base64Url(text: string): string {
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
