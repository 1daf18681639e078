"""nats-py's client, held to what was asked for.

Owns one rule: where TLS was asked for, nothing secret goes over a connection without it. nats-py encrypts only if the
server says that it must, so a server, or somebody in between, that says nothing would be sent the password in clear.
Imports nats-py, so it is imported only when a connection is made.
"""

from __future__ import annotations

from nats import errors
from nats.aio.client import Client


class StrictClient(Client):
    """See the module's first lines."""

    def _connect_command(self) -> bytes:
        """Return the command that logs in, which is sent after the TLS handshake where there is one."""
        if self.options.get("tls") is not None and not self._server_info.get("tls_required"):
            raise errors.Error("the server offers no TLS")
        return super()._connect_command()
