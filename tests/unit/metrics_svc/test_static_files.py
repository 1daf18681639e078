"""Which file answers a path, and with which headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from metrics_svc.static_files import cache_control, content_type, find, security_headers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("page")
    (static / "assets" / "index-Ab3_x9Zk.js").write_text("code")
    (tmp_path / "secret.txt").write_text("secret")
    (static / "link.txt").symlink_to(tmp_path / "secret.txt")
    return static.resolve()


def test_files_are_found_and_places_in_the_page_get_the_page(root: Path) -> None:
    assert find(root, "assets/index-Ab3_x9Zk.js") == root / "assets" / "index-Ab3_x9Zk.js"
    for path in ("", "/", "rollouts", "agents/42"):
        assert find(root, path.strip("/")) == root / "index.html"
    assert find(root, "assets/missing.js") is None


def test_a_folder_with_a_page_of_its_own_answers_its_addresses(root: Path) -> None:
    (root / "pages" / "assets").mkdir(parents=True)
    (root / "pages" / "index.html").write_text("pages")
    (root.parent / "index.html").write_text("secret")
    for path in ("pages", "pages/", "pages/insights", "pages/insights/", "./pages/handoffs"):
        assert find(root, path) == root / "pages" / "index.html"
    for path in ("", "page", "rollouts/pages", "assets", "../static/x", "pages/../x", "\0"):
        assert find(root, path) == root / "index.html", path
    assert find(root, "pages/assets/missing.js") is None


@pytest.mark.parametrize(
    "path", ["../secret.txt", "assets/../../secret.txt", "/etc/passwd", "link.txt", "..", "\0.txt"]
)
def test_nothing_outside_the_folder_is_served(root: Path, path: str) -> None:
    found = find(root, path)
    assert found is None or found == root / "index.html"


def test_only_hashed_names_are_kept_for_ever() -> None:
    assert "immutable" in cache_control("index-Ab3_x9Zk.js")
    for name in ("index.html", "sw.js", "manifest.webmanifest", "icon-192.png", "service-worker.js"):
        assert cache_control(name) == "no-cache"


def test_types_do_not_depend_on_the_operating_system() -> None:
    assert content_type("a.js").startswith("text/javascript")
    assert content_type("a.MJS").startswith("text/javascript")
    assert content_type("a.css").startswith("text/css")
    assert content_type("a.svg") == "image/svg+xml"
    assert content_type("a.webmanifest") == "application/manifest+json"
    assert content_type("a.unknown") == "application/octet-stream"


def test_the_page_may_connect_to_itself_and_the_gateways_only() -> None:
    headers = security_headers(["ws://127.0.0.1:7401/v1/ws", "wss://edge.example/v1/ws"])
    policy = headers["Content-Security-Policy"]
    assert (
        "connect-src 'self' http://127.0.0.1:7401 https://edge.example ws://127.0.0.1:7401 wss://edge.example;"
        in policy
    )
    assert "unsafe" not in policy
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
