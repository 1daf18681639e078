// The service worker of the AI pages: their files without a network, CRITICAL events while no page can fetch them. All of
// it is the SDK's; the build names the files and the version.

import { startServiceWorker } from "@lanecast/client/sw";

declare const __LANECAST_SHELL__: readonly string[];
declare const __LANECAST_VERSION__: string;

startServiceWorker({ shell: __LANECAST_SHELL__, version: __LANECAST_VERSION__ });
