"""The dependency audit: a finding fails, a missing answer does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def audit() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / ".ci" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_vulnerable_python_package_is_a_finding(audit: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    flaw = {"id": "PYSEC-2024-1", "fix_versions": ["1.2"], "aliases": [], "description": ""}
    report = {
        "dependencies": [
            {"name": "good", "version": "1.0", "vulns": []},
            {"name": "bad", "version": "1.1", "vulns": [flaw]},
            {"name": "unknown", "skip_reason": "Dependency not found"},
        ]
    }

    assert audit.judge_python(report) == ["bad 1.1: PYSEC-2024-1, fixed in: 1.2"]
    assert "2 of 3 Python packages checked" in capsys.readouterr().out


def test_a_vulnerable_npm_package_is_a_finding(audit: ModuleType) -> None:
    report = {
        "vulnerabilities": {"bad": {"severity": "high", "range": "<2.0"}},
        "metadata": {"dependencies": {"total": 7}},
    }

    assert audit.judge_npm(report) == ["bad: high, versions <2.0"]


def test_a_finding_fails(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "audit_python", lambda: ["bad 1.1: PYSEC-2024-1, fixed in: 1.2"])
    monkeypatch.setattr(audit, "audit_npm", list)

    assert audit.main() == 1


def test_no_answer_is_said_and_passes(audit: ModuleType) -> None:
    report, complaint = audit.run(["sh", "-c", "echo 'no route to host' >&2; exit 1"])

    assert report is None
    assert complaint == "no route to host"


def test_a_tool_that_is_not_installed_fails(audit: ModuleType) -> None:
    with pytest.raises(SystemExit):
        audit.run(["sh", "-c", "echo 'No module named pip_audit' >&2; exit 1"])
    with pytest.raises(FileNotFoundError):
        audit.run(["no-such-tool"])
