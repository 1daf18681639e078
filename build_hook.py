"""Build hook: generates the protobuf modules and, for wheels and source archives, the web assets.

Hatchling calls it for every build, editable installs included. The generated modules go to `lanecast/v1` and
`lanecast/ai/v1`; nothing else may write there, and they are never committed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("lanecast/v1", "lanecast/ai/v1", "lanecast/internal/v1")
STATIC = "metrics_svc/static"
PAGES = ("index.html", "pages/index.html")
"""What the web build must have written there: the dashboard and the AI pages."""


class GenerateHook(BuildHookInterface):  # type: ignore[misc, type-arg]
    """Generates what the packages need and the repository does not hold."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before the files of the build are collected; `version` is `editable` for editable installs."""
        root = Path(self.root)
        generate_protobuf(root)
        if version != "editable":
            build_web(root)
        build_data["pure_python"] = True


def generate_protobuf(root: Path) -> None:
    """Write Python modules and type stubs for every contract under `protos/`."""
    import grpc_tools
    from grpc_tools import protoc

    protos = root / "protos"
    for package in PACKAGES:
        folder = root / package
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    includes = [f"-I{protos}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    outputs = [f"--{kind}_out={root}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [f"--plugin=protoc-gen-{name}={_script('protoc-gen-' + name)}" for name in ("mypy", "mypy_grpc")]
    sources = sorted(str(path) for path in protos.rglob("*.proto"))
    if protoc.main(["protoc", *includes, *plugins, *outputs, *sources]) != 0:
        raise SystemExit("protoc refused the contracts under protos/; its message above names file and line")
    for package in ("lanecast/ai", "lanecast/internal", *PACKAGES):
        init = root / package / "__init__.py"
        init.write_text(f'"""Generated from protos/{package}; do not edit."""\n')


def build_web(root: Path) -> None:
    """Build the web pages into `metrics_svc/static` unless they are there already."""
    if not _missing_pages(root):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("building the wheel needs Node.js 20 or newer with npm; installing a built wheel does not")
    for command in (["ci"], ["run", "build"]):
        subprocess.run([npm, *command], cwd=root / "web", check=True)
    if missing := _missing_pages(root):
        raise SystemExit(f"`npm run build` in web/ did not write {', '.join(missing)}")


def _missing_pages(root: Path) -> list[str]:
    return [f"{STATIC}/{page}" for page in PAGES if not (root / STATIC / page).is_file()]


def _script(name: str) -> str:
    """Find a console script of the build environment, which need not be on PATH."""
    beside = Path(sys.executable).parent / name
    if beside.is_file():
        return str(beside)
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is missing: install mypy-protobuf into the build environment")
    return found
