// Keys that do something anywhere on the page.

/** Whether a key belongs to what is typed into, to a dialog, or to the browser. */
export function isTyping(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  return event.target instanceof Element && event.target.closest("input, textarea, select, dialog") !== null;
}
