// The shape of each lane: lanes differ by form and name, never by colour alone.

import type { Lane } from "@lanecast/client";

const PATHS: Readonly<Record<Lane, string>> = {
  CRITICAL: "M8 1.5 15 14H1Z",
  HIGH: "M8 1 15 8 8 15 1 8Z",
  NORMAL: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13Z",
  LOW: "M2 5.5h12v5H2Z",
};

export function Shape({ lane }: { lane: Lane }) {
  return (
    <svg className="shape" data-lane={lane} viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[lane]} />
    </svg>
  );
}
