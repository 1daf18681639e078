"""What the README and docs/ show works as it stands there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import trustme

from lanecast.core import codes
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "web/packages/client/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_RUN_SECONDS = 30
_REASONS = (
    re.compile(r'(?:Refusal|StatusError)\(\s*[\w.]+,\s*"([A-Z_]+)"'),
    re.compile(r'TokenError\(\s*"([A-Z_]+)"'),
)
"""How the sources name the reason of a failure."""


def snippets(language: str) -> Iterator[tuple[str, str]]:
    """Yield (where, code) of every fenced block in a language."""
    for page in PAGES:
        for match in _FENCE.finditer(page.read_text()):
            if match[1] == language:
                line = page.read_text()[: match.start()].count("\n") + 1
                yield f"{page.relative_to(ROOT)}:{line}", match[2]


@pytest.mark.parametrize(("where", "code"), list(snippets("python")))
async def test_python_runs_against_a_publisher(where: str, code: str, tmp_path: Path) -> None:
    app = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.1))
    address = str((await app.start())["address"])
    script = tmp_path / "snippet.py"
    script.write_text(code.replace("127.0.0.1:7400", address))
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")  # the authority that examples with TLS name
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(script),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    async with asyncio.timeout(_RUN_SECONDS):
        _, errors = await process.communicate()
    await app.drain()
    assert process.returncode == 0, f"{where}: {errors.decode()}"


@pytest.mark.parametrize(("where", "code"), list(snippets("ts")))
def test_typescript_compiles_against_the_sdk(where: str, code: str, tmp_path: Path) -> None:
    given = "declare const fetchToken: () => Promise<string>;\n"
    (tmp_path / "snippet.ts").write_text(code + given)
    source = ROOT / "web/packages/client/src"
    entries = {"@lanecast/client": [str(source / "index.ts")], "@lanecast/client/*": [str(source / "*/index.ts")]}
    options = {"noEmit": True, "paths": entries}
    config = {
        "extends": str(ROOT / "web/packages/client/tsconfig.json"),
        "compilerOptions": {**options, "typeRoots": [str(ROOT / "web/node_modules/@types")]},
        "include": [str(tmp_path / "snippet.ts")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    compiler = ROOT / "web/node_modules/.bin/tsc"
    done = subprocess.run([compiler, "-p", tmp_path / "tsconfig.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("folder", ["publisher_svc", "lanecast/runtime", "lanecast/publisher"])
def test_the_errors_page_lists_every_reason_of_publishing(folder: str) -> None:
    page = (ROOT / "docs/errors.md").read_text()
    reasons = {
        reason
        for source in (ROOT / folder).rglob("*.py")
        for pattern in _REASONS
        for reason in pattern.findall(source.read_text())
    }
    assert reasons
    assert not [reason for reason in sorted(reasons) if f"`{reason}`" not in page]


def test_the_limits_page_names_every_option_of_publishing() -> None:
    page = (ROOT / "docs/limits.md").read_text() + (ROOT / "docs/tokens.md").read_text()
    names = [item.name for item in fields(PublisherConfig) if item.name.startswith(("publish_", "anonymous_"))]
    assert len(names) == 4
    assert not [name for name in names if name not in page]


def test_the_protocol_page_lists_every_code() -> None:
    assert codes.markdown() in (ROOT / "docs/protocol.md").read_text()


def test_every_reason_is_documented() -> None:
    text = (ROOT / "docs/errors.md").read_text()
    pattern = re.compile(r"(?:StatusError|Refusal|EventError)\([^)]*?\"([A-Z]+_[A-Z_]+)\"", re.DOTALL)
    sources = [
        path
        for folder in ("publisher_svc", "metrics_svc", "lanecast/runtime")
        for path in (ROOT / folder).rglob("*.py")
    ]
    reasons = {reason for path in sources for reason in pattern.findall(path.read_text())}
    assert len(reasons) > 10, "the pattern no longer finds the reasons in the sources"
    missing = sorted(reason for reason in reasons if f"`{reason}`" not in text)
    assert not missing, f"docs/errors.md does not name {missing}"
