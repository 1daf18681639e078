// The drawings of the pages: one weight, one size, in the colour of the text beside them.

import type { PageName } from "../router.ts";

const PATHS: Readonly<Record<PageName | "copy" | "pause" | "play" | "check" | "close" | "undo" | "info", string>> = {
  insights: "M10 2.5l1.9 4.6 4.6 1.9-4.6 1.9L10 15.5 8.1 10.9 3.5 9l4.6-1.9zM16 14v3.5M14.25 15.75h3.5",
  valuations: "M3 4.5h7M7 8.2h6M10 11.8h5M3 15.5h13",
  strategy: "M3 16l4.5-5 3.5 3L17 5.5M12.5 5.5H17V10",
  handoffs: "M3 6.5h12.5M12 3l3.5 3.5L12 10M17 13.5H4.5M8 10l-3.5 3.5L8 17",
  copy: "M7 7h9v9H7zM4 13V4h9",
  pause: "M7 5v10M13 5v10",
  play: "M7 4.5l8 5.5-8 5.5z",
  check: "M4 10.5l4 4 8-9",
  close: "M5 5l10 10M15 5L5 15",
  undo: "M4 8h8a4 4 0 010 8H8M4 8l3.5-3.5M4 8l3.5 3.5",
  info: "M10 9v5M10 6v.2M10 17.5a7.5 7.5 0 100-15 7.5 7.5 0 000 15z",
};

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
