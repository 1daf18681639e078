// Starts the page.

import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { Live } from "./live.ts";
import "@lanecast/shared/base.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/cards.css";
import "./styles/panels.css";
import "./styles/forms.css";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
const live = new Live();
live.start();
createRoot(root).render(<App live={live} />);
