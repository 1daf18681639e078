// What a page shows while it has nothing to show: why, and what to do.

import type { LanecastError } from "@lanecast/client";
import type { ReactNode } from "react";
import { useStatus } from "./status.tsx";

export function Empty({
  what,
  how,
  ready,
  error,
}: {
  /** What will be here, in the plural. */
  what: string;
  /** What makes it come. */
  how: ReactNode;
  ready: boolean;
  error: LanecastError | null;
}) {
  const { tone, label } = useStatus();
  if (error) {
    return (
      <div className="empty" data-testid="empty">
        <h2>These {what} cannot be shown</h2>
        <p>
          {error.message}. {error.remediation}
        </p>
      </div>
    );
  }
  if (!ready && tone === "good") return <Loading what={what} />;
  if (!ready && label === "Connecting") return <Loading what={what} />;
  if (!ready) {
    return (
      <div className="empty" data-testid="empty">
        <h2>No {what} on this device</h2>
        <p>Nothing was kept from an earlier visit. They appear here as soon as there is a connection.</p>
      </div>
    );
  }
  return (
    <div className="empty" data-testid="empty">
      <h2>No {what} yet</h2>
      <p>{how}</p>
    </div>
  );
}

function Loading({ what }: { what: string }) {
  return (
    <div className="loading" data-testid="loading">
      <p>Getting the newest {what} …</p>
      <span aria-hidden="true" />
      <span aria-hidden="true" />
      <span aria-hidden="true" />
    </div>
  );
}
