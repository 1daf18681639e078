"""Configuration of a process from a TOML file and the environment.

Owns how a frozen dataclass becomes options: a field `port` of the section `publisher` is `LANECAST_PUBLISHER_PORT` in
the environment and `port` under `[publisher]` in the file. A field marked `shared` is `LANECAST_DATA_DIR`, say, and
stands at the top of the file. The environment goes before the file, the file before the default. Called by each
service's `__main__` and by the command line; may not know any service.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from lanecast.errors import ConfigError

T = TypeVar("T")

CONFIG_FILE_VARIABLE = "LANECAST_CONFIG"
"""Names the TOML file."""

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def option(default: Any, help: str, *, shared: bool = False) -> Any:  # noqa: A002 - the word everyone knows
    """Declare a configuration field with its default and one sentence of help."""
    metadata = {"help": help, "shared": shared}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def variable(section: str, item: Field[Any]) -> str:
    """Return the environment variable of a field."""
    middle = "" if item.metadata.get("shared") else f"{section.upper()}_"
    return f"LANECAST_{middle}{item.name.upper()}"


def load(cls: type[T], section: str, environ: Mapping[str, str] | None = None) -> T:
    """Build the configuration `cls` of one section.

    Raises:
        ConfigError: a value has the wrong form, or the file is missing or malformed; says which and what is wanted.
    """
    environ = os.environ if environ is None else environ
    table = _read_file(environ.get(CONFIG_FILE_VARIABLE, ""))
    own = table.get(section, {})
    if not isinstance(own, dict):
        raise ConfigError(f"[{section}] in the configuration file must be a table")
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    known: set[str] = set()
    for item in fields(cls):  # type: ignore[arg-type]
        name = variable(section, item)
        place = table if item.metadata.get("shared") else own
        known.add(item.name)
        if name in environ:
            values[item.name] = convert(environ[name], hints[item.name], name)
        elif item.name in place:
            values[item.name] = convert(place[item.name], hints[item.name], f"{item.name} in the configuration file")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{name} is not set: {item.metadata.get('help', 'it is required')}")
    for name in own:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} under [{section}]: use one of {', '.join(sorted(known))}")
    return cls(**values)


def to_environ(config: object, section: str) -> dict[str, str]:
    """Return the variables from which `load` builds an equal configuration; used to start child processes."""
    result: dict[str, str] = {}
    for item in fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        result[variable(section, item)] = text
    return result


def convert(value: Any, kind: Any, name: str) -> Any:
    """Turn a string or TOML value into `kind`: bool, int, float, str, Path or tuple[str, ...].

    Raises:
        ConfigError: it has another form.
    """
    try:
        return _CONVERTERS[kind](value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name} is {value!r}: {error}") from error


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("use true or false")


def _to_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(str(value))
    except ValueError as error:
        raise ValueError("use a whole number") from error


def _to_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError("use a number") from error


def _to_tuple(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(str(item) for item in value)
    return tuple(part.strip() for part in str(value).split(",") if part.strip())


_CONVERTERS: dict[Any, Any] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: str,
    Path: Path,
    tuple[str, ...]: _to_tuple,
}


def _read_file(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{CONFIG_FILE_VARIABLE} names {path}, which does not exist") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error
