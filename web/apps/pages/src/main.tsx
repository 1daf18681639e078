// Starts the pages.

import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { Runtime } from "./runtime.ts";
import "@lanecast/shared/base.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/insights.css";
import "./styles/valuations.css";
import "./styles/strategy.css";
import "./styles/handoffs.css";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
const runtime = new Runtime();
runtime.start();
createRoot(root).render(<App runtime={runtime} />);
