"""Which requests count as local."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from metrics_svc.core.loopback import is_loopback_name, refusal

LOCAL = {"Host": "127.0.0.1:7480"}


def ask(remote: str | None = "127.0.0.1", networks: tuple[str, ...] = (), **headers: str) -> str | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(remote, CIMultiDict({**LOCAL, **named}), networks)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7480", "localhost:7480", "LOCALHOST", "[::1]:7480", "app.localhost", "127.9.9.9"]
)
def test_loopback_names_are_local(host: str) -> None:
    assert ask(Host=host) is None
    assert ask(Host=host, Origin=f"http://{host}") is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:7480",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "",
        "[::1",
        "x@evil.example",
    ],
)
def test_any_other_name_is_not_so_rebinding_gets_nothing(host: str) -> None:
    assert "Host header" in (ask(Host=host) or "")
    assert not is_loopback_name(host)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost.evil.example", "file://", ""])
def test_a_foreign_origin_is_refused(origin: str) -> None:
    assert "Origin header" in (ask(Origin=origin) or "")


def test_only_loopback_peers_are_local_unless_a_network_is_named() -> None:
    assert ask("::1") is None
    assert ask("::ffff:127.0.0.1") is None
    for remote in ("192.168.1.5", "172.18.0.1", None, "", "nonsense", "2001:db8::1"):
        assert "only pages on the machine" in (ask(remote) or "")
    assert ask("172.18.0.1", ("172.16.0.0/12",)) is None
    assert ask("172.18.0.1", ("172.16.0.0/12",), Host="evil.example") is not None


def test_what_came_through_a_proxy_or_from_another_site_is_refused() -> None:
    assert "proxy" in (ask(X_Forwarded_For="1.2.3.4") or "")
    assert "proxy" in (ask(Forwarded="for=1.2.3.4") or "")
    assert "another site" in (ask(Sec_Fetch_Site="cross-site") or "")
    assert ask(Sec_Fetch_Site="same-origin") is None
