"""The transport runs on both event loops: the services use uvloop where it is there. Also certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping

import pytest
import trustme
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Contexts:
    """TLS of a service, and of clients that fit it or do not."""

    def __init__(self) -> None:
        authority, other = trustme.CA(), trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(self.server)
        self.strict = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=None)
        authority.issue_cert("127.0.0.1").configure_cert(self.strict)
        authority.configure_trust(self.strict)
        self.strict.verify_mode = ssl.CERT_REQUIRED
        self.elsewhere = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("elsewhere.test").configure_cert(self.elsewhere)
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.client)
        self.known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.known)
        authority.issue_cert("client.test").configure_cert(self.known)
        self.stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        other.configure_trust(self.stranger)
        self.ca = authority.cert_pem.bytes()
        for context in vars(self).values():
            if isinstance(context, ssl.SSLContext):
                context.set_alpn_protocols(["h2"])


@pytest.fixture(scope="session")
def contexts() -> Contexts:
    return Contexts()
