"""Whose requests may change something over HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from lanecast.errors import StatusError
from metrics_svc.core.operators import Operators

PAGE = "https://ops.example"
LISTED = Operators(("10.1.0.0/16",), (PAGE,))


def ask(operators: Operators = LISTED, remote: str | None = "127.0.0.1", **headers: str) -> str:
    """Return the reason of the refusal; empty where there is none."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    headers = CIMultiDict({"Host": "127.0.0.1:7480", "Content-Type": "application/json", **named})
    try:
        operators.check(remote, headers)
    except StatusError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("remote", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"])
def test_this_machine_and_listed_networks_may(remote: str) -> None:
    assert ask(remote=remote) == ""


@pytest.mark.parametrize("remote", ["10.2.0.1", "192.168.1.5", "2001:db8::1", "", "nonsense", None])
def test_any_other_peer_may_not(remote: str | None) -> None:
    assert ask(remote=remote) == "NOT_LOCAL"


@pytest.mark.parametrize("header", ["Forwarded", "X_Forwarded_For", "X_Real_IP", "Via"])
def test_a_proxy_on_this_machine_has_to_be_listed(header: str) -> None:
    assert ask(**{header: "for=1.2.3.4"}) == "NOT_LOCAL"
    assert ask(Operators(("127.0.0.1/32",)), **{header: "for=1.2.3.4"}) == ""


@pytest.mark.parametrize("host", ["127.0.0.1:7480", "localhost:7480", "[::1]:7480", "app.localhost", "10.1.0.9:7480"])
def test_a_page_opened_by_address_or_as_localhost_may(host: str) -> None:
    assert ask(Host=host, Origin=f"http://{host}") == ""


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "127.0.0.1:7480"),
        ("http://evil.example:7480", "evil.example:7480"),  # a name that was bound to this address
        ("http://127.0.0.1:9999", "127.0.0.1:7480"),
        ("null", "127.0.0.1:7480"),
        ("", ""),
        ("http://[::1", "[::1"),
        (PAGE + ".evil.example", "ops.example"),
    ],
)
def test_other_pages_may_not(origin: str, host: str) -> None:
    assert ask(Origin=origin, Host=host) == "FOREIGN_REQUEST"


def test_a_listed_page_may_under_any_name() -> None:
    assert ask(Origin=PAGE, Host="metrics.internal") == ""
    assert ask(Operators(), Origin=PAGE, Host="metrics.internal") == "FOREIGN_REQUEST"


def test_without_an_origin_the_browser_says_whether_another_site_asks() -> None:
    assert ask(Sec_Fetch_Site="same-origin") == ask(Sec_Fetch_Site="none") == ""
    assert ask(Sec_Fetch_Site="cross-site") == ask(Sec_Fetch_Site="same-site") == "FOREIGN_REQUEST"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_only_json_is_taken(kind: str) -> None:
    assert ask(Content_Type=kind) == "CONTENT_TYPE"
    assert ask(Content_Type="Application/JSON; charset=utf-8") == ""


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=20))
def test_whatever_is_sent_is_let_in_or_refused_by_name(origin: str, host: str, remote: str) -> None:
    assert ask(remote=remote, Origin=origin, Host=host) in {"", "NOT_LOCAL", "FOREIGN_REQUEST"}
    assert ask(Operators(), Origin=f"http://{origin}.example", Host=f"{origin}.example") != ""
