"""The `lanecast` command and the services as processes of their own, on ports that the system chooses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

INSIGHT = "lanecast.ai.v1.ConciergeInsight"


def clean_environ(**changes: str) -> dict[str, str]:
    """The environment without settings of Lanecast that the developer may have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LANECAST_")}
    return {**kept, "COLUMNS": "120", **changes}


def insight(number: int, *, channel: str = "agent:42", priority: str = "CRITICAL") -> str:
    """One line of NDJSON."""
    event = {
        "channel": channel,
        "type": INSIGHT,
        "priority": priority,
        "id": f"e{number}",
        "data": {"text": f"hint {number}"},
    }
    return json.dumps(event) + "\n"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Result]


@pytest.fixture
def lanecast(tmp_path: Path) -> Command:
    """Run the command to its end, in an empty directory."""

    def run(*arguments: str, stdin: str = "", **environ: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "lanecast.cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=clean_environ(**environ),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return run


class Background:
    """A process that runs while the test does."""

    def __init__(self, arguments: Sequence[str], cwd: Path, **environ: str) -> None:
        self.errors = cwd / f"stderr-{id(self)}.txt"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=cwd,
                env=clean_environ(**environ),
                start_new_session=True,  # so that a test can signal the whole group, as a terminal does
            )
        assert self.process.stdout is not None
        self.out = self.process.stdout

    def json_line(self) -> dict[str, Any]:
        """Wait for the next line of its output."""
        line = self.out.readline()
        assert line, f"it ended: {self.errors.read_text()}"
        value: dict[str, Any] = json.loads(line)
        return value

    def until(self, **wanted: Any) -> dict[str, Any]:
        """Read lines up to one that says all of `wanted`."""
        while True:
            line = self.json_line()
            if wanted.items() <= line.items():
                return line

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.process.terminate()
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.out.close()


Start = Callable[..., Background]


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Start]:
    """Start a Python module that runs until the test is over."""
    started: list[Background] = []

    def start(*arguments: str, **environ: str) -> Background:
        started.append(Background(arguments, tmp_path, **environ))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def publisher(background: Start, tmp_path: Path) -> str:
    """The address of a running publisher."""
    service = background(
        "publisher_svc",
        LANECAST_PUBLISHER_PORT="0",
        LANECAST_DATA_DIR=str(tmp_path / "data"),
        LANECAST_LOG_LEVEL="WARNING",
    )
    return str(service.until(ready="publisher")["address"])
