// A store tells its listeners of changes and of nothing else.

import { expect, test } from "vitest";
import { Store } from "../store.ts";

test("tells of a change, and not of the same value again", () => {
  const store = new Store(1);
  let told = 0;
  const stop = store.subscribe(() => told++);
  store.set(1);
  expect(told).toBe(0);
  store.set(2);
  expect([told, store.get()]).toEqual([1, 2]);
  stop();
  store.set(3);
  expect(told).toBe(1);
});

test("a listener that subscribes again while it is told is told once", () => {
  const store = new Store(0);
  let told = 0;
  let stop = () => {};
  const listen = () => {
    told++;
    stop();
    if (told < 10) stop = store.subscribe(listen);
  };
  stop = store.subscribe(listen);
  store.set(1);
  expect(told).toBe(1);
});
