// Whether a channel's events came without a hole: the gaps the server has named, and the counts of the SDK. Also keeps
// the channel subscribed as long as it is used.

import type { AiEvents, Continuity, Gap, Subscription } from "@lanecast/client";
import { useClient } from "@lanecast/client/react";
import { useEffect, useState } from "react";

/** Newest gaps that are remembered. */
const KEPT_GAPS = 20;
const READ_MS = 1_000;
/** Where each page begins on a device that has kept nothing; the same for all who share a channel. */
export const SINCE = { last: 20 } as const;

export interface ContinuityView {
  readonly gaps: readonly Gap[];
  readonly counts: Continuity | null;
}

const NOTHING: ContinuityView = { gaps: [], counts: null };

export function useContinuity(channel: string): ContinuityView {
  const client = useClient<AiEvents>();
  const [view, setView] = useState<ContinuityView>(NOTHING);
  useEffect(() => {
    const onGap = (gap: Gap) => setView((last) => ({ ...last, gaps: [...last.gaps, gap].slice(-KEPT_GAPS) }));
    const subscription: Subscription = client.channel(channel).subscribe(() => {}, { since: SINCE, onGap });
    const timer = setInterval(() => {
      const counts = subscription.continuity();
      setView((last) => (same(last.counts, counts) ? last : { ...last, counts }));
    }, READ_MS);
    return () => {
      clearInterval(timer);
      subscription.unsubscribe();
      setView(NOTHING);
    };
  }, [client, channel]);
  return view;
}

function same(a: Continuity | null, b: Continuity): boolean {
  return (
    a !== null &&
    a.delivered === b.delivered &&
    a.duplicates === b.duplicates &&
    a.gaps === b.gaps &&
    a.holes === b.holes &&
    a.resumes === b.resumes
  );
}
