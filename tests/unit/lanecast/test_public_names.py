"""What `import lanecast` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lanecast


def test_every_public_name_can_be_had() -> None:
    for name in lanecast.__all__:
        assert getattr(lanecast, name) is not None
    assert dir(lanecast) == lanecast.__all__
    assert set(lanecast._HOMES) | {"__version__"} == set(lanecast.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Publsher'"):
        lanecast.Publsher  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, lanecast; lanecast.Priority; print('grpc' in sys.modules, 'apsw' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
