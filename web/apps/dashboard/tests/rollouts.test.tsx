// @vitest-environment jsdom
// Acting on a rollout: only what is legal is offered, each change is asked for with a reason, and a refusal is told.

import { fireEvent, render, screen, waitFor } from "@testing-library/react";
import { beforeEach, expect, test, vi } from "vitest";
import "./setup.ts";
import { access } from "../src/access.ts";
import { Live } from "../src/live.ts";
import { Detail } from "../src/panels/rollout/detail.tsx";
import { makeRollout } from "./rollouts.ts";

let answers: ((url: string, body: Record<string, unknown>) => Response)[] = [];
let sent: { url: string; body: Record<string, unknown> }[] = [];

function json(status: number, body: object): Response {
  return new Response(JSON.stringify(body), { status });
}

beforeEach(() => {
  access.set({ role: "unknown", why: "" });
  answers = [];
  sent = [];
  vi.stubGlobal("fetch", async (url: string, options: RequestInit) => {
    if (options.method !== "POST") return json(200, { entries: [] });
    const body = JSON.parse(String(options.body)) as Record<string, unknown>;
    sent.push({ url, body });
    return answers.shift()?.(url, body) ?? json(500, {});
  });
});

function click(name: string): void {
  fireEvent.click(screen.getByRole("button", { name }));
}

async function fill(reason: string): Promise<void> {
  fireEvent.change(await screen.findByLabelText(/^Reason/), { target: { value: reason } });
  fireEvent.change(screen.getByLabelText("Your name"), { target: { value: "kim" } });
}

test("only legal verbs are offered", () => {
  render(<Detail rollout={makeRollout()} live={new Live()} />);
  const verbs = [...document.querySelectorAll("[data-verb]")].map((button) => button.getAttribute("data-verb"));
  expect(verbs).toEqual(["pause", "advance", "rollback"]);
});

test("a verb is sent with who, why, a key of its own and the version that was seen", async () => {
  const live = new Live();
  answers.push(() => json(200, { rollout: makeRollout({ version: "6", exposureBasisPoints: 5_000 }) }));
  render(<Detail rollout={makeRollout()} live={live} />);
  click("Advance without verdict");
  expect(screen.getByText(/recorded as an override/)).toBeTruthy();
  await fill("we know these samples");
  fireEvent.submit(document.querySelector("dialog form") as HTMLFormElement);
  await waitFor(() => expect(document.querySelector("dialog")).toBeNull());
  expect(sent[0]?.url).toBe("/api/v1/websocket-performance/rollouts/r-1/advance");
  const context = sent[0]?.body.context as Record<string, string>;
  expect(context).toMatchObject({ actor: "kim", reason: "we know these samples", expectedVersion: "5" });
  expect(context.requestId).toMatch(/^[0-9a-f-]{36}$/);
  expect(access.get().role).toBe("operator");
});

test("a conflict is told, and the dialog stays", async () => {
  const message = "the rollout has changed since you saw it (version 5, now 7): look at it again, then decide";
  answers.push(() => json(409, { code: 10, reason: "VERSION_STALE", message }));
  render(<Detail rollout={makeRollout()} live={new Live()} />);
  click("Advance without verdict");
  await fill("now");
  fireEvent.submit(document.querySelector("dialog form") as HTMLFormElement);
  expect((await screen.findByRole("alert")).textContent).toContain(`Somebody else was faster. ${message}`);
});

test("the way back does not ask which version was seen", async () => {
  answers.push(() => json(200, { rollout: makeRollout({ version: "6", state: "ROLLOUT_STATE_ROLLING_BACK" }) }));
  render(<Detail rollout={makeRollout()} live={new Live()} />);
  click("Roll back");
  await fill("too slow");
  fireEvent.submit(document.querySelector("dialog form") as HTMLFormElement);
  await waitFor(() => expect(sent[0]?.body.context).toMatchObject({ expectedVersion: "0", reason: "too slow" }));
});

test("who may not change anything reads why, and finds no working button", async () => {
  answers.push(() => json(403, { code: 7, reason: "NOT_LOCAL", message: "only pages on the machine may ask" }));
  render(<Detail rollout={makeRollout()} live={new Live()} />);
  click("Pause");
  await fill("");
  fireEvent.submit(document.querySelector("dialog form") as HTMLFormElement);
  await waitFor(() => expect(access.get().role).toBe("reader"));
  expect(screen.getByText("Read only: only pages on the machine may ask")).toBeTruthy();
  expect((screen.getByRole("button", { name: "Roll back" }) as HTMLButtonElement).disabled).toBe(true);
});

test("a dialog that is overtaken says so and cannot be confirmed", async () => {
  const live = new Live();
  render(<Detail rollout={makeRollout()} live={live} />);
  click("Advance without verdict");
  live.operations.rollouts.set({
    all: new Map([["r-1", makeRollout({ version: "9", state: "ROLLOUT_STATE_ROLLED_BACK", legalVerbs: ["retry"] })]]),
    loaded: true,
  });
  expect(await screen.findByText(/does not allow this any more/)).toBeTruthy();
  const confirm = document.querySelector("dialog button[type=submit]") as HTMLButtonElement;
  expect(confirm.disabled).toBe(true);
});
