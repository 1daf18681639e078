"""How the SDKs reach a service: target lists and readable failures.

Owns the notion of a target (`host:port`) and the sentences about services that cannot be reached. Used by the publisher
and the subscriber; opens channels and knows no rpc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from lanecast.errors import ConfigError, LanecastError, StatusError, UnavailableError
from lanecast.runtime import channels, status, tls

_FINAL = {
    status.INVALID_ARGUMENT,
    status.NOT_FOUND,
    status.ALREADY_EXISTS,
    status.PERMISSION_DENIED,
    status.FAILED_PRECONDITION,
    status.UNIMPLEMENTED,
    status.UNAUTHENTICATED,
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How a program speaks TLS with publisher services: whom it trusts, and what it shows where they ask for it."""

    ca: str = tls.SYSTEM_CA
    """File of the authorities (PEM) that are trusted; `system`: those of the system."""
    certificate: str = ""
    """File of the certificate chain (PEM) that is shown; empty: none is."""
    key: str = ""
    """File of its private key (PEM)."""

    def __post_init__(self) -> None:
        if not self.ca:
            raise ConfigError("Tls without a ca trusts nobody: name a PEM file, or leave it out for the system's own")
        if bool(self.certificate) != bool(self.key):
            raise ConfigError("Tls takes certificate and key together: set both, or none")
        tls.client_context(self.config())

    def config(self) -> tls.TlsConfig:
        """Return the same as the configuration of a process."""
        return tls.TlsConfig(ca=self.ca, client_certificate=self.certificate, client_key=self.key)


class Targets:
    """The addresses of publishers that share one log, in the order of preference; see `lanecast.core.targets`."""

    def __init__(self, targets: str | Sequence[str], security: Tls | None = None) -> None:
        self.tls = None if security is None else security.config()
        """How they are called; None: as the section `tls` of the process says."""
        names = [targets] if isinstance(targets, str) else list(targets)
        self.names = tuple(part.strip() for name in names for part in name.split(",") if part.strip())
        if not self.names:
            raise ConfigError("no target given: name at least one publisher as host:port, for example 127.0.0.1:7400")
        for name in self.names:
            if not name.rpartition(":")[2].isdigit():
                raise ConfigError(f"{name!r} is no target: use host:port, for example 127.0.0.1:7400")
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"a target is named twice in {', '.join(self.names)}: name each once")

    def __str__(self) -> str:
        return ", ".join(self.names)


def open_channel(target: str, own: tls.TlsConfig | None = None) -> grpc.aio.Channel:
    """Return a channel to one target; nothing is sent before its first call."""
    return channels.open_channel(target, own)


class OtherLogError(UnavailableError):
    """A target has another log than the one in use."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"{target} has another event log than the publisher before it, so it is not used: targets that are given"
            " together must share one log"
        )


def is_final(error: LanecastError) -> bool:
    """Say whether trying again, here or elsewhere, cannot help.

    INTERNAL and UNKNOWN are not final: gRPC itself ends a call with INTERNAL when a write meets a dead peer.
    """
    return isinstance(error, StatusError) and error.code in _FINAL


def unreachable(targets: Targets, seconds: float, last: LanecastError | None) -> UnavailableError:
    """Return the error for a service that could not be reached at all."""
    cause = f" ({last})" if last is not None else ""
    return UnavailableError(
        f"cannot reach a publisher at {targets} within {seconds:g} s{cause}: start one with `lanecast up`, or give the"
        " host:port it listens on"
    )
