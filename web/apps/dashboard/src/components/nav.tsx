// The views of the page, with what each has to say by itself. Links, so that they open in a tab of their own; the keys 1
// to 5 open them, too.

import { useStore } from "@lanecast/shared/store";
import { useEffect } from "react";
import { firing, stateOf, underWay } from "../data/operations.ts";
import { isTyping } from "../keys.ts";
import type { Live } from "../live.ts";
import { address, go, useRoute, VIEWS, type ViewId } from "../router.ts";
import { words } from "../words.ts";

export function Nav({ live }: { live: Live }) {
  const { view } = useRoute();
  useNumberKeys();
  return (
    <nav className="tabs" aria-label="Views">
      {VIEWS.map(({ id, label }, index) => (
        <a
          key={id}
          href={address(id)}
          aria-current={view === id ? "page" : undefined}
          aria-keyshortcuts={`${index + 1}`}
        >
          <span className="wide-label">{label}</span>
          <span className="narrow-label" aria-hidden="true">
            {label.split(" ")[0]}
          </span>
          <Badge view={id} live={live} />
        </a>
      ))}
    </nav>
  );
}

function Badge({ view, live }: { view: ViewId; live: Live }) {
  const alerts = useStore(live.operations.alerts);
  const rollouts = useStore(live.operations.rollouts);
  if (view === "alerts") {
    const open = firing(alerts.all.values());
    const waiting = open.filter((alert) => alert.acknowledgedBy === "").length;
    if (open.length === 0) return null;
    return (
      <span className="badge" data-tone={waiting > 0 ? "bad" : "none"}>
        {open.length}
        <span className="visually-hidden"> firing</span>
      </span>
    );
  }
  const active = view === "rollouts" ? underWay(rollouts.all.values()) : null;
  if (active === null) return null;
  return (
    <span className="badge" data-tone={stateOf(active) === "HELD" ? "warn" : "none"}>
      {active.exposureBasisPoints / 100} %<span className="visually-hidden">, {words(stateOf(active))}</span>
    </span>
  );
}

function useNumberKeys(): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const view = VIEWS[Number(event.key) - 1];
      if (view && !isTyping(event)) go(view.id);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}
