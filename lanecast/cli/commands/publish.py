"""`lanecast publish`: one event, or a stream of them, from JSON.

Owns what is printed of each. The work is in `lanecast.cli.pipeline`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import click

from lanecast.cli import options
from lanecast.cli.core.problems import InputError
from lanecast.cli.input import CHUNK_BYTES
from lanecast.cli.output import counted, write_json, write_line, write_note
from lanecast.core import exit_codes
from lanecast.errors import ConfigError

if TYPE_CHECKING:
    from lanecast import Ack, AsyncPublisher
    from lanecast.cli.core.payloads import PayloadTypes
    from lanecast.publisher import TokenSource

EPILOG = """\b
Examples:
  lanecast publish '{"channel": "agent:42", "type": "lanecast.ai.v1.ConciergeInsight",
                     "priority": "CRITICAL", "data": {"text": "Offer the annual plan."}}'
  lanecast publish --ndjson events.ndjson
  my-model | lanecast publish --ndjson - --json > acknowledgements.ndjson

\b
Keys of an event:
  channel        where it goes, for example agent:42
  type           full name of the payload type; `lanecast types` lists them
  priority       CRITICAL, HIGH, NORMAL or LOW
  data           the payload's fields
  id             optional; an event with the same id in the same channel within 120 s is stored once
  ttl            optional; seconds or a duration, after which nobody need see it
  conflation_key optional; events with the same key may replace one another for slow readers

Where the publisher asks for a token, name a file that has one with --token-file, or set LANECAST_TOKEN; --token shows
it to everyone who can list processes. The file is read again when its token has expired.

With --ndjson, a bad line is reported with its number and the others go through; the exit code is 1 if one was not
acknowledged."""


@click.command("publish", short_help="Publish events from JSON.", epilog=EPILOG)
@click.argument("event", required=False)
@click.option("--ndjson", "source", metavar="FILE", help="Read one JSON object a line from FILE; - is standard input.")
@click.option("--source", "name", default="", help="Names the publishing service in the events.")
@click.option(
    "--token", metavar="TOKEN", default="", envvar="LANECAST_TOKEN", show_envvar=True, help="Token to present."
)
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="File that has the token.")
@options.target_option
@options.json_option
def command(
    event: str | None,
    source: str | None,
    name: str,
    token: str,
    token_file: Path | None,
    target: str,
    as_json: bool,
) -> int:
    """Publish an event given as JSON, or one per line with --ndjson.

    Prints the position of each event in the log once it is stored there. With --json, one acknowledgement per line of
    the input, in the order of the input.
    """
    if (event is None) == (source is None):
        raise ConfigError("give either one event as JSON, or --ndjson with a file or - for standard input")
    way = _Way(target, name, token_source(token, token_file))
    if event is not None:
        return asyncio.run(_publish_one(event, way, as_json))
    assert source is not None
    with _opened(source) as descriptor:
        return asyncio.run(_publish_lines(descriptor, way, as_json))


def token_source(token: str, file: Path | None) -> TokenSource | None:
    """Return what the publisher takes as its token; a file goes before LANECAST_TOKEN and is read at each connection.

    Raises:
        ConfigError: the file cannot be read.
    """
    if file is None:
        return token or None

    def read() -> str:
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"cannot read the token file {file}: {cause}") from error

    if not read():
        raise ConfigError(f"the token file {file} is empty: write a token into it, for example with `lanecast token`")
    return read


@dataclass(frozen=True, slots=True)
class _Way:
    """Where to publish, and as whom."""

    target: str
    source: str
    token: TokenSource | None

    def publisher(self) -> AsyncPublisher:
        from lanecast import AsyncPublisher

        return AsyncPublisher(self.target, source=self.source, token=self.token)


@contextmanager
def _opened(source: str) -> Iterator[int]:
    if source == "-":
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open(Path(source), os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _types(target: str) -> PayloadTypes:
    from lanecast.cli.core.payloads import PayloadTypes
    from lanecast.cli.rpc import list_event_types

    answer = await list_event_types(target)
    return PayloadTypes(answer.types, answer.descriptors)


async def _publish_one(event: str, way: _Way, as_json: bool) -> int:
    from lanecast.cli.core.drafts import parse_draft

    try:
        draft = parse_draft(event)
        message = (await _types(way.target)).parse(draft.type, draft.data)
    except InputError as error:
        raise ConfigError(str(error)) from error
    async with way.publisher() as publisher:
        ack = await publisher.publish(
            draft.channel,
            message,
            priority=draft.priority,
            id=draft.id,
            ttl=draft.ttl_seconds,
            conflation_key=draft.conflation_key,
        )
    if as_json:
        write_json(_ack_facts(ack))
    else:
        suffix = " (it was there already)" if ack.duplicate else ""
        write_line(f"{ack.channel} {draft.priority.name} {ack.epoch}:{ack.offset} id {ack.id}{suffix}")
    return exit_codes.OK


async def _publish_lines(descriptor: int, way: _Way, as_json: bool) -> int:
    from lanecast.cli.input import read_lines
    from lanecast.cli.pipeline import MAX_LINE_BYTES, LinePipeline
    from lanecast.errors import NotAcknowledgedError

    types = await _types(way.target)
    listener = _LineReport(as_json)
    with _progress(descriptor) as advance:
        async with way.publisher() as publisher:
            pipeline = LinePipeline(publisher, types, listener)
            async for line in read_lines(descriptor, MAX_LINE_BYTES):
                await pipeline.add(line)
                advance(len(line.text) + 1)
            await pipeline.finish()
            try:
                await publisher.flush()
            except NotAcknowledgedError:
                assert listener.failures  # each of them was reported with its line
    listener.summary()
    return exit_codes.FAILED if listener.failures else exit_codes.OK


class _LineReport:
    """Prints what became of the lines. When nobody reads standard output any more, the rest is published unreported."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._silent = False
        self._stored = 0
        self._duplicates = 0
        self.failures = 0

    def acknowledged(self, number: int, ack: Ack) -> None:
        """Count an event, and print its position for programs."""
        self._stored += 1
        self._duplicates += ack.duplicate
        self._print({"line": number, **_ack_facts(ack)})

    def failed(self, number: int, reason: str, message: str) -> None:
        """Say which line failed and why."""
        self.failures += 1
        write_note(f"lanecast: line {number}: {message}")
        self._print({"line": number, "error": {"reason": reason, "message": message}})

    def summary(self) -> None:
        """Print the counts, for people."""
        duplicates = f", {self._duplicates} of them there already" if self._duplicates else ""
        failures = f"; {self.failures} failed" if self.failures else ""
        if not self._as_json:
            write_line(f"{counted(self._stored, 'event')} acknowledged{duplicates}{failures}")

    def _print(self, facts: dict[str, Any]) -> None:
        if not self._as_json or self._silent:
            return
        try:
            write_json(facts)
        except BrokenPipeError:
            self._silent = True


def _ack_facts(ack: Ack) -> dict[str, Any]:
    return {
        "channel": ack.channel,
        "id": ack.id,
        "epoch": ack.epoch,
        "offset": ack.offset,
        "duplicate": ack.duplicate,
    }


@contextmanager
def _progress(descriptor: int) -> Iterator[Callable[[int], None]]:
    """Show the progress on a terminal that is not the input itself; give a function that takes bytes read."""
    if not sys.stderr.isatty() or os.isatty(descriptor):
        yield lambda _size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    facts = os.fstat(descriptor)
    total = facts.st_size if S_ISREG(facts.st_mode) else None
    columns = (TextColumn("publishing"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        unseen = 0

        def advance(size: int) -> None:
            nonlocal unseen
            unseen += size
            if unseen >= CHUNK_BYTES:  # an update costs more than a line does
                progress.update(task, advance=unseen)
                unseen = 0

        yield advance
