// Light, dark, or as the system says. The choice is kept in this browser, for the dashboard and the AI pages alike.

import { Store } from "./store.ts";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "lanecast.theme";

export const theme = new Store<Theme>(read());
apply(theme.get());

/** Goes on to the next choice. */
export function nextTheme(): void {
  const next = THEMES[(THEMES.indexOf(theme.get()) + 1) % THEMES.length] ?? "system";
  theme.set(next);
  apply(next);
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // A browser that stores nothing for this page still shows it in the chosen colours.
  }
}

function read(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return THEMES.find((choice) => choice === kept) ?? "system";
  } catch {
    return "system";
  }
}

function apply(choice: Theme): void {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
}
