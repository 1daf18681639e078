"""Tells the user what becomes of the child processes, in words or as JSON lines, and keeps the ready file.

Owns the wording. Called by `loop`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanecast.cli.core.plan import EXAMPLE, Launch
from lanecast.cli.output import write_json, write_line, write_note
from lanecast.cli.supervise.ready_file import ReadyFile

Ready = Sequence[tuple[Launch, int, dict[str, Any]]]


class ChildReporter:
    """The reporter of `lanecast up` and `lanecast demo`.

    Lines of children go to standard error with the child's name before them. When nobody reads standard output any
    more, the children go on without being talked about.
    """

    def __init__(
        self,
        urls: dict[str, str],
        data_dir: Path | None,
        *,
        as_json: bool = False,
        ready_file: ReadyFile | None = None,
        state_file: ReadyFile | None = None,
    ) -> None:
        self._urls = urls
        self._data_dir = data_dir
        self._as_json = as_json
        self._ready_file = ready_file
        self._state_file = state_file
        """Read by `lanecast restart`."""
        self._state: dict[str, Any] = {"pid": os.getpid(), "restarts": 0, "failed": "", "up": False}
        self._width = 0
        self._introduced = False
        self._silent = False

    def line(self, name: str, text: str) -> None:
        """Pass on a line that a child wrote."""
        sys.stderr.write(f"{name:<{self._width}} | {text}\n")

    def ready(self, launch: Launch, pid: int, facts: dict[str, Any]) -> None:
        """Say that one child is ready."""
        name = launch.spec.name
        self._width = max(self._width, len(name))
        self._say(
            f"{name:<12} ready at {facts.get('address', 'an unnamed address')} (process {pid})",
            {"event": "ready", "name": name, "service": launch.service, "pid": pid, **_place(facts)},
        )

    def all_ready(self, ready: Ready) -> None:
        """Say that all are ready, and write the ready file."""
        if self._ready_file is not None:
            self._ready_file.write(self.content(ready))
        if self._state_file is not None and not self._state["up"]:
            self._state["up"] = True
            self._state_file.write(self._state)
        if self._urls and not self._introduced:
            self._introduced = True
            places = {"dashboard": self._urls["dashboard"], "AI pages": self._urls["pages"]}
            lines = (f"{name:<12} {url}" for name, url in places.items())
            self._say("\n".join(lines), {"event": "up", "urls": self._urls})

    def content(self, ready: Ready) -> dict[str, Any]:
        """Return what the ready file says."""
        children = [
            (launch.service, {"name": launch.spec.name, "service": launch.service, "pid": pid, **_place(facts)})
            for launch, pid, facts in ready
        ]
        return {
            "pid": os.getpid(),
            "data_dir": str(self._data_dir),
            "urls": self._urls,
            "services": [child for service, child in children if service != EXAMPLE],
            "examples": [child for service, child in children if service == EXAMPLE],
        }

    def died(self, name: str, code: int, delay_seconds: float) -> None:
        """Say that a child ended unasked and is restarted after a delay."""
        when = "at once" if delay_seconds <= 0 else f"in {delay_seconds:.1f} s"
        self._say(
            f"{name:<12} {describe_exit(code)}; restarting {when}",
            {"event": "died", "name": name, "code": code, "restart_in_seconds": round(delay_seconds, 3)},
        )

    def gave_up(self, name: str, code: int) -> None:
        """Say that a child could not be started."""
        write_note(f"lanecast: {name} {describe_exit(code)} before it was ready; its own message stands above")
        if self._as_json:
            self._say("", {"event": "gave_up", "name": name, "code": code})

    def killed(self, name: str, reason: str) -> None:
        """Say that a child had to be killed."""
        self._say(f"{name:<12} killed: {reason}", {"event": "killed", "name": name, "reason": reason})

    def rolling(self) -> None:
        """Say that the services are restarted one at a time."""
        self._say("restarting the services one at a time", {"event": "rolling"})

    def rolled(self, failed: str) -> None:
        """Say that this has ended, and keep count for those who wait for it."""
        if self._state_file is not None:
            self._state["restarts"] += 1
            self._state["failed"] = failed
            self._state_file.write(self._state)
        if failed:
            text = f"{failed} did not become ready again: the other services were not restarted"
        else:
            text = "all services were restarted"
        self._say(text, {"event": "rolled", "failed": failed})

    def stopping(self) -> None:
        """Say that the children are being stopped, and take the ready file away."""
        if self._ready_file is not None:
            self._ready_file.remove()
        self._say("stopping; once more to end at once", {"event": "stopping"})

    def _say(self, text: str, fact: dict[str, Any]) -> None:
        if self._silent:
            return
        try:
            if self._as_json:
                write_json(fact)
            else:
                write_line(text)
        except BrokenPipeError:
            self._silent = True


def _place(facts: dict[str, Any]) -> dict[str, Any]:
    return {"address": facts["address"]} if "address" in facts else {}


def describe_exit(code: int) -> str:
    """Return how a process ended, for people."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
