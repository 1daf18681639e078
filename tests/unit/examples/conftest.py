"""The examples are scripts that are run by path; here their folders go on `sys.path` as Python does for a script."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
sys.path += [str(EXAMPLES), *(str(EXAMPLES / name) for name in ("concierge", "bots", "analytics", "strategy"))]


@pytest.fixture
def main_module(request: pytest.FixtureRequest) -> ModuleType:
    """The `main.py` of the example that the test's folder is named after; there are four of that name."""
    name = request.path.parent.name
    spec = importlib.util.spec_from_file_location(f"{name}_main", EXAMPLES / name / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
