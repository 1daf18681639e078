"""Options that several commands share, and the configuration file as a source of their defaults.

Owns the order option, environment, file, default. The file is the one the services read; see `lanecast.runtime.config`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lanecast.cli.core import plan
from lanecast.cli.core.durations import parse_duration
from lanecast.core.priority import Priority
from lanecast.errors import ConfigError
from lanecast.runtime.config import convert

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DATA_DIR = ".lanecast"
DEFAULT_TARGET = "127.0.0.1:7400"
DEFAULT_METRICS = "127.0.0.1:7402"
_METRICS = "lanecast.metrics"

FILE_SETTINGS: dict[str, tuple[str, ...]] = {
    "data_dir": ("data_dir",),
    "log_level": ("log_level",),
    "host": ("up", "host"),
    "gateways": ("up", "gateways"),
    "publishers": ("up", "publishers"),
    "ready_file": ("up", "ready_file"),
    "publisher_port": ("publisher", "port"),
    "gateway_port": ("gateway", "port"),
    "metrics_port": ("metrics", "port"),
    "http_port": ("metrics", "http_port"),
    "allowed_origins": ("gateway", "allowed_origins"),
    "gateway_urls": ("metrics", "gateway_urls"),
    "log": ("publisher", "log"),
}
"""Where the value of an option stands in the file."""


def to_seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Turn a duration such as 1h into seconds; a callback of options."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def to_lane(ctx: click.Context, param: click.Parameter, value: str) -> Priority:
    """Turn the name of a lane into it; a callback of options."""
    try:
        return Priority.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def to_lanes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[Priority, ...]:
    """Turn names of lanes with commas between them into lanes; a callback of options."""
    try:
        return tuple(Priority.parse(name) for name in value.split(",") if name.strip())
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def read_config(path: Path) -> dict[str, Any]:
    """Return the options that a configuration file sets, by parameter name.

    Raises:
        ConfigError: the file cannot be read, or `[up]` has a setting that does not exist.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"the configuration file {path} does not exist: check --config") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error
    _check_up(table.get("up", {}))
    found: dict[str, Any] = {}
    for name, keys in FILE_SETTINGS.items():
        place: Any = table
        for key in keys:
            place = place.get(key) if isinstance(place, dict) else None
        if place is not None:
            found[name] = place
    return found


def listed_setting(name: str, variable: str) -> tuple[str, ...]:
    """Return a list setting of a service from the environment or the configuration file of the running command."""
    file = click.get_current_context().default_map or {}
    value = os.environ.get(variable, file.get(name, ()))
    result: tuple[str, ...] = convert(value, tuple[str, ...], variable)
    return result


def _check_up(table: Any) -> None:
    known = sorted(keys[1] for keys in FILE_SETTINGS.values() if keys[0] == "up")
    if not isinstance(table, dict):
        raise ConfigError("[up] in the configuration file must be a table")
    for name in table:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} under [up] in the configuration file: use {', '.join(known)}")


def _on_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    del param
    if value is None:
        return None
    ctx.default_map = {**(ctx.default_map or {}), **read_config(value)}
    return value.resolve()


def config_option(function: F) -> F:
    """Add `--config`; its file gives the other options their defaults."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar=plan.CONFIG_FILE,
        show_envvar=True,
        is_eager=True,
        callback=_on_config,
        help="TOML file with settings of this command and of the services.",
    )(function)


def data_dir_option(function: F) -> F:
    """Add `--data-dir`."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        default=DEFAULT_DATA_DIR,
        envvar=plan.DATA_DIR,
        show_default=True,
        show_envvar=True,
        help="Directory of the event log and the development key.",
    )(function)


def target_option(function: F) -> F:
    """Add `--target`, the address of the publisher."""
    return click.option(
        "--target",
        metavar="HOST:PORT",
        default=DEFAULT_TARGET,
        envvar="LANECAST_TARGET",
        show_default=True,
        show_envvar=True,
        help="Address of the publisher.",
    )(function)


def _metrics_target(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Keep what was given before a subcommand's name, unless another address stands behind that name."""
    given = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
    if given or _METRICS not in ctx.meta:
        ctx.meta[_METRICS] = value
    return str(ctx.meta[_METRICS])


def metrics_option(function: F) -> F:
    """Add `--metrics`, the address of the metrics service, as `target`.

    A group that has it and its subcommands share it: it may stand before a subcommand's name or behind it.
    """
    return click.option(
        "--metrics",
        "target",
        metavar="HOST:PORT",
        default=DEFAULT_METRICS,
        envvar=plan.METRICS_TARGET,
        callback=_metrics_target,
        show_default=True,
        show_envvar=True,
        help="Address of the metrics service (gRPC).",
    )(function)


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON lines, for programs.")(function)


_SYSTEM: tuple[tuple[str, Any, Any, str, str], ...] = (
    ("--publisher-port", click.IntRange(0, 65535), 7400, plan.PUBLISHER_PORT, "Port of the publisher (gRPC)."),
    ("--gateway-port", click.IntRange(0, 65535), 7401, plan.GATEWAY_PORT, "Port of the gateways (WebSocket)."),
    ("--metrics-port", click.IntRange(0, 65535), 7402, plan.METRICS_PORT, "Port of the metrics service (gRPC)."),
    ("--http-port", click.IntRange(0, 65535), 7480, plan.METRICS_HTTP_PORT, "Port of the dashboard (HTTP)."),
    ("--gateways", click.IntRange(1, 64), 1, "LANECAST_UP_GATEWAYS", "Number of gateway processes on the one port."),
    (
        "--publishers",
        click.IntRange(1, 16),
        1,
        "LANECAST_UP_PUBLISHERS",
        "Number of publishers; more than 1 need --log.",
    ),
    ("--host", str, "127.0.0.1", "LANECAST_UP_HOST", "Address that all services listen on."),
)


def _log_options(function: F) -> F:
    """Add what says where the events are kept."""
    function = click.option(
        "--accept-lazy-fsync",
        is_flag=True,
        envvar=plan.PUBLISHER_LAZY_FSYNC,
        help="Take NATS servers that acknowledge before their disk has the event.",
    )(function)
    function = click.option(
        "--log-check",
        multiple=True,
        metavar="URL",
        help="Where to see that the NATS servers sync first: http://HOST:8222, or nats:// as a system account.",
    )(function)
    function = click.option(
        "--log-replicas",
        type=click.Choice(["1", "3", "5"]),
        callback=lambda ctx, param, value: int(value or 0),  # noqa: ARG005 - click names them
        help="Replicas of a stream that is made. [default: 1]",
    )(function)
    return click.option(
        "--log",
        metavar="sqlite|nats://HOST:PORT[,…]",
        default="",
        envvar=plan.PUBLISHER_LOG,
        show_envvar=True,
        help="Event log: in the data directory, or a JetStream stream that publishers share. [default: sqlite]",
    )(function)


def system_options(function: F) -> F:
    """Add everything that says which system to run."""
    function = click.option(
        "--log-level",
        type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
        envvar=plan.LOG_LEVEL,
        show_envvar=True,
        help="What the services log to standard error, from this level on. [default: INFO]",
    )(function)
    function = click.option(
        "--ready-file",
        type=click.Path(path_type=Path),
        envvar="LANECAST_UP_READY_FILE",
        show_envvar=True,
        help="JSON file with the services' process ids and addresses, there while all are ready.",
    )(function)
    function = _log_options(function)
    for name, kind, default, variable, text in reversed(_SYSTEM):
        function = click.option(
            name, type=kind, default=default, envvar=variable, show_default=True, show_envvar=True, help=text
        )(function)
    return config_option(data_dir_option(function))
