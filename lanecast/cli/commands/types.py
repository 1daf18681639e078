"""`lanecast types`: what may be published."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from lanecast.cli import options
from lanecast.cli.core.problems import InputError
from lanecast.cli.output import write_json, write_line
from lanecast.errors import ConfigError

if TYPE_CHECKING:
    from lanecast.cli.core.payloads import PayloadTypes

EPILOG = """\b
Examples:
  lanecast types
  lanecast types lanecast.ai.v1.ConciergeInsight      its fields, and an event to copy
  lanecast types --json | jq -r .type"""


@click.command("types", short_help="List the payload types that may be published.", epilog=EPILOG)
@click.argument("name", metavar="[TYPE]", required=False)
@options.target_option
@options.json_option
def command(name: str | None, target: str, as_json: bool) -> None:
    """List the payload types that may be published, or the fields of one."""
    from lanecast.cli.core.payloads import PayloadTypes
    from lanecast.cli.rpc import list_event_types

    answer = asyncio.run(list_event_types(target))
    types = PayloadTypes(answer.types, answer.descriptors)
    try:
        entries = [_entry(types, each) for each in ([name] if name else types.names)]
    except InputError as error:
        raise ConfigError(str(error)) from error
    if as_json:
        for entry in entries:
            write_json(entry)
    elif name:
        _write_detail(types, entries[0])
    else:
        for entry in entries:
            write_line(f"{entry['type']}  ({len(entry['fields'])} fields)")


def _entry(types: PayloadTypes, name: str) -> dict[str, Any]:
    from lanecast.cli.core.payloads import describe_fields

    descriptor = types.descriptor(name)
    return {"type": descriptor.full_name, "fields": describe_fields(descriptor)}


def _write_detail(types: PayloadTypes, entry: dict[str, Any]) -> None:
    from lanecast.cli.core.payloads import example_data

    write_line(entry["type"])
    width = max((len(field["json_name"]) for field in entry["fields"]), default=0)
    for field in entry["fields"]:
        write_line(f"  {field['json_name']:<{width}}  {field['type']}")
        for value in field.get("values", ()):
            write_line(f"  {'':<{width}}    {value}")
    data = example_data(types.descriptor(entry["type"]))
    event = {"channel": "agent:42", "type": entry["type"], "priority": "NORMAL", "data": data}
    write_line(f"\nlanecast publish '{json.dumps(event)}'")
