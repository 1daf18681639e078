"""Configuration from environment and TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lanecast.errors import ConfigError
from lanecast.runtime.config import load, option, to_environ


@dataclass(frozen=True)
class Example:
    """A configuration with a field of every kind."""

    name: str = option("anna", "A name.")
    port: int = option(7, "A port.")
    ratio: float = option(0.5, "A ratio.")
    on: bool = option(False, "A switch.")
    folder: Path = option(lambda: Path("here"), "A folder.", shared=True)
    targets: tuple[str, ...] = option((), "Some targets.")


@dataclass(frozen=True)
class Demanding:
    """A configuration with a field that has no default."""

    key: str


def test_defaults_hold_where_nothing_is_said() -> None:
    assert load(Example, "demo", {}) == Example()


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "lanecast.toml"
    file.write_text('folder = "there"\n[demo]\nname = "file"\nport = 1\ntargets = ["a", "b"]\non = true\n')
    environ = {"LANECAST_CONFIG": str(file), "LANECAST_DEMO_NAME": "environment", "LANECAST_DEMO_RATIO": "2"}
    assert load(Example, "demo", environ) == Example("environment", 1, 2.0, True, Path("there"), ("a", "b"))


def test_a_configuration_survives_the_way_to_a_child_process() -> None:
    config = Example("x", 9, 0.25, True, Path("/srv/data"), ("a:1", "b:2"))
    environ = to_environ(config, "demo")
    assert environ["LANECAST_FOLDER"] == "/srv/data"
    assert load(Example, "demo", environ) == config
    assert load(Example, "demo", to_environ(Example(), "demo")) == Example()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("PORT", "many", "use a whole number"),
        ("RATIO", "half", "use a number"),
        ("ON", "perhaps", "use true or false"),
    ],
)
def test_a_value_of_the_wrong_form_is_named(name: str, value: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"LANECAST_DEMO_{name} is '{value}': {wanted}"):
        load(Example, "demo", {f"LANECAST_DEMO_{name}": value})


@pytest.mark.parametrize("text", ["true", "YES", "1", "on"])
def test_a_switch_has_the_usual_spellings(text: str) -> None:
    assert load(Example, "demo", {"LANECAST_DEMO_ON": text}).on


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[demo]\nnmae = 1\n", "unknown setting 'nmae'"),
        ("demo = 1\n", "must be a table"),
        ("[demo]\nport = true\n", "port in the configuration file is True"),
        ("[demo\n", "cannot read the configuration file"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "lanecast.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        load(Example, "demo", {"LANECAST_CONFIG": str(file)})


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"LANECAST_CONFIG names nowhere\.toml"):
        load(Example, "demo", {"LANECAST_CONFIG": "nowhere.toml"})


def test_what_is_required_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="LANECAST_DEMO_KEY is not set"):
        load(Demanding, "demo", {})
