// The service worker of the page under test.

import { startServiceWorker } from "@lanecast/client/sw";

declare const __LANECAST_SHELL__: readonly string[];
declare const __LANECAST_VERSION__: string;

startServiceWorker({ shell: __LANECAST_SHELL__, version: __LANECAST_VERSION__ });
