// Holds changes until the next frame, so that a burst of messages renders once.

type Task = () => void;

const waiting = new Map<object, Task>();
let scheduled = false;

/** Runs `task` before the next frame is drawn; a later one for the same owner takes its place. */
export function inFrame(owner: object, task: Task): void {
  waiting.set(owner, task);
  if (scheduled) return;
  scheduled = true;
  // A hidden page draws no frames: there the changes wait for a second at most, and cost one render.
  const run = once(() => {
    scheduled = false;
    const tasks = [...waiting.values()];
    waiting.clear();
    for (const each of tasks) each();
  });
  requestAnimationFrame(run);
  setTimeout(run, 1_000);
}

function once(task: Task): Task {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    task();
  };
}
