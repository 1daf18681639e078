"""Looks for known vulnerabilities in what the lock files pin.

A finding fails. Where the advisories cannot be reached, for lack of internet or behind a mirror that has none, it says
so and passes: a build must not depend on somebody else's server being up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements/dev.lock", "requirements/uv.lock")


def main() -> int:
    """Audit Python and npm packages; return the exit code."""
    findings = [*audit_python(), *audit_npm()]
    for finding in findings:
        say(finding)
    return 1 if findings else 0


def audit_python() -> list[str]:
    """Return the findings of pip-audit."""
    locks = [part for lock in LOCKS for part in ("-r", lock)]
    options = ("--require-hashes", "--disable-pip", "-f", "json", "--progress-spinner", "off", "--timeout", "10")
    report, complaint = run([sys.executable, "-m", "pip_audit", *locks, *options])
    if report is None:
        say(f"Python packages were not checked: {complaint}")
        return []
    return judge_python(report)


def judge_python(report: dict[str, Any]) -> list[str]:
    """Return a line for each vulnerable package, and say how many could not be looked up."""
    packages = report["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    say(f"{len(packages) - len(unknown)} of {len(packages)} Python packages checked")
    return [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in: {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]


def audit_npm() -> list[str]:
    """Return the findings of npm audit."""
    report, complaint = run(["npm", "--prefix", "web", "audit", "--json"])
    if report is None or "vulnerabilities" not in report:
        say(f"npm packages were not checked: {(report or {}).get('message', complaint)}")
        return []
    return judge_npm(report)


def judge_npm(report: dict[str, Any]) -> list[str]:
    """Return a line for each vulnerable package."""
    total = report.get("metadata", {}).get("dependencies", {}).get("total", "all")
    say(f"{total} npm packages checked")
    flaws = sorted(report["vulnerabilities"].items())
    return [f"{name}: {flaw['severity']}, versions {flaw['range']}" for name, flaw in flaws]


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"audit: {text}\n")


def run(command: list[str]) -> tuple[dict[str, Any] | None, str]:
    """Run a tool; return its JSON report, or None and the last thing it complained about.

    A tool that is not installed is an error of the set-up and is not caught.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if "No module named" in done.stderr:
        raise SystemExit(done.stderr)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines()
        return None, lines[-1] if lines else f"{command[0]} ended with exit code {done.returncode}"
    return report, ""


if __name__ == "__main__":
    raise SystemExit(main())
