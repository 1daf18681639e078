"""Serves the built web page.

Owns MIME types, caching and the security headers of everything the HTTP port answers. The dashboard is built by `web/`
into `metrics_svc/static`, other applications into folders in it; where it was not, a short page says how. Registered by
`http`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

STATIC_DIR = Path(__file__).parent / "static"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
# `name-Ab3_x9Zk.js`, as Vite names what it builds: the name changes with the content.
_HASHED = re.compile(r".+-[A-Za-z0-9_-]{8,}\.[a-z0-9]+(\.map)?")
# A service worker may control its own folder, and with this said, nothing above it.
_WORKER = "sw.js"
_IMMUTABLE = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"

_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Lanecast: page not built</title>
<body>
<h1>The page has not been built</h1>
<p>This is a source checkout without the built web page. With Node.js 20 or newer, run this and reload:</p>
<pre>cd web &amp;&amp; npm ci &amp;&amp; npm run build</pre>
<p>The figures are there already: <a href="/api/v1/websocket-performance/latency-metrics">latency</a>,
<a href="/api/v1/websocket-performance/throughput-metrics">throughput</a>,
<a href="/api/v1/websocket-performance/grade">grade</a>, <a href="/metrics">Prometheus</a>.</p>
</body></html>
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def security_headers(gateway_urls: Sequence[str]) -> dict[str, str]:
    """Return the headers of every response. The page may connect to this port and to the gateways, nowhere else."""
    gateways = sorted({origin for url in gateway_urls for origin in _origins(url)})
    policy = (
        "default-src 'self'",
        " ".join(("connect-src 'self'", *gateways)),
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def handler(directory: Path) -> Handler:
    """Return the handler of every path that is no other route's; a path without a file gets the page itself."""
    root = directory.resolve()

    async def serve(request: web.Request) -> web.StreamResponse:
        path = find(root, request.match_info.get("path", ""))
        if path is None:
            return web.Response(text="404: there is no such file\n", status=404)
        if not path.is_file():
            return web.Response(text=_NOT_BUILT, content_type="text/html", headers={"Cache-Control": "no-store"})
        headers = {"Cache-Control": cache_control(path.name), "Content-Type": content_type(path.name)}
        if path.name == _WORKER:
            headers["Service-Worker-Allowed"] = request.path.rpartition("/")[0] + "/"
        return web.FileResponse(path, headers=headers)

    return serve


def find(root: Path, path: str) -> Path | None:
    """Return the file that answers `path`: itself, or the page whose address it is; None for neither.

    A folder with an `index.html` is an application of its own, to which all addresses in it belong.
    """
    wanted = (root / path).resolve() if "\0" not in path else root / "index.html"
    if not wanted.is_relative_to(root):
        return None
    if wanted != root and wanted.is_file():
        return wanted
    # A name with a suffix is a file that should be there; without one it is a place within the page.
    return None if Path(path).suffix else _page(root, wanted)


def _page(root: Path, wanted: Path) -> Path:
    """Return the page that the resolved path belongs to."""
    own = root.joinpath(*wanted.relative_to(root).parts[:1], "index.html")
    return own if own.is_file() else root / "index.html"


def content_type(name: str) -> str:
    """Return the MIME type of a file; what the operating system's table says of it does not count."""
    return _TYPES.get(Path(name).suffix.lower(), "application/octet-stream")


def cache_control(name: str) -> str:
    """Return how long a file may be kept: for ever where its name holds a hash of its content."""
    return _IMMUTABLE if _HASHED.fullmatch(name) else _REVALIDATE


def _origins(url: str) -> tuple[str, str]:
    """Return the WebSocket origin of a gateway and the HTTP one, for polling."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", f"{parts.scheme.replace('ws', 'http', 1)}://{parts.netloc}"
