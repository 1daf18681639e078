"""TLS of the services' own, and of everybody who calls them.

Owns the section `tls` of the configuration, how its files become credentials, and what is said where they do not fit.
Read by `grpc_server`, by the services' web sockets and HTTP, and for each channel that is opened; knows no service.

One section holds for a whole process, since a system either speaks TLS or does not: a service that calls another
one has the same authorities as the command line beside it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from lanecast.errors import ConfigError
from lanecast.runtime.config import load, option

SECTION = "tls"
SYSTEM_CA = "system"


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """What a process can be told about TLS."""

    certificate: str = option("", "Certificate chain (PEM) that the services show; empty: they speak plain text.")
    key: str = option("", "Private key (PEM) of certificate.")
    client_ca: str = option("", "Authorities (PEM) of which gRPC clients must show a certificate; empty: of none.")
    ca: str = option("", "Authorities (PEM) trusted when a service is called, or `system`; empty: plain text.")
    client_certificate: str = option("", "Certificate chain (PEM) shown to services that ask for one.")
    client_key: str = option("", "Private key (PEM) of client_certificate.")

    def __post_init__(self) -> None:
        for first, second in (("certificate", "key"), ("client_certificate", "client_key")):
            if bool(getattr(self, first)) != bool(getattr(self, second)):
                raise ConfigError(f"tls.{first} and tls.{second} go together: set both, or none")
        if self.client_ca and not self.certificate:
            raise ConfigError("tls.client_ca asks clients for certificates, which needs TLS: set tls.certificate too")
        if self.client_certificate and not self.ca:
            raise ConfigError("tls.client_certificate is shown over TLS only: set tls.ca too")


def settings(environ: Mapping[str, str] | None = None) -> TlsConfig:
    """Return the section `tls` of this process.

    Raises:
        ConfigError: it contradicts itself, or the configuration file cannot be read.
    """
    return load(TlsConfig, SECTION, environ)


def open_channel(target: str, options: Sequence[tuple[str, int]], own: TlsConfig | None = None) -> grpc.aio.Channel:
    """Return a channel to `host:port`, over TLS where there are authorities to trust; by default those of this process.

    Raises:
        ConfigError: a file of the section `tls` cannot be used.
    """
    own = own or settings()
    if not own.ca:
        return grpc.aio.insecure_channel(target, options=options)
    client_context(own)  # says what is wrong with a file; gRPC would only say that it cannot connect
    credentials = grpc.ssl_channel_credentials(
        None if own.ca == SYSTEM_CA else _read(own.ca, "ca"),
        _read(own.client_key, "client_key") if own.client_key else None,
        _read(own.client_certificate, "client_certificate") if own.client_certificate else None,
    )
    return grpc.aio.secure_channel(target, credentials, options=options)


def server_credentials(own: TlsConfig) -> grpc.ServerCredentials | None:
    """Return what a gRPC server proves itself with; None where it speaks plain text.

    Raises:
        ConfigError: a file cannot be used.
    """
    if server_context(own) is None:
        return None
    pair = _read(own.key, "key"), _read(own.certificate, "certificate")
    authorities = _read(own.client_ca, "client_ca") if own.client_ca else None
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=authorities is not None)


def server_context(own: TlsConfig) -> ssl.SSLContext | None:
    """Return what browsers are met with; None where that is plain text. They are asked for no certificate.

    Raises:
        ConfigError: a file cannot be used.
    """
    if not own.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, own.certificate, own.key, "certificate")
    if own.client_ca:
        _load_authorities(ssl.create_default_context(), own.client_ca, "client_ca")
    return context


def grpc_server_context(own: TlsConfig) -> ssl.SSLContext | None:
    """Return what callers of gRPC are met with; None where that is plain text. They may be asked for a certificate.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = server_context(own)
    if context is not None:
        context.set_alpn_protocols(["h2"])
        if own.client_ca:
            _load_authorities(context, own.client_ca, "client_ca")
            context.verify_mode = ssl.CERT_REQUIRED
    return context


def grpc_client_context(own: TlsConfig | None = None) -> ssl.SSLContext | None:
    """Return how a gRPC service is called, by default as this process does; None where that is in plain text.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = client_context(own or settings())
    if context is not None:
        context.set_alpn_protocols(["h2"])
    return context


def client_context(own: TlsConfig) -> ssl.SSLContext | None:
    """Return how a service is called; None where that is in plain text.

    Raises:
        ConfigError: a file cannot be used.
    """
    if not own.ca:
        return None
    context = ssl.create_default_context()
    if own.ca != SYSTEM_CA:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authorities(context, own.ca, "ca")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if own.client_certificate:
        _load_pair(context, own.client_certificate, own.client_key, "client_certificate")
    return context


_EXPLAINED = (
    ("Hostname Verification Check failed", "its certificate is not for that name: call it by a name it is made out to"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is of an authority that is not trusted: set LANECAST_TLS_CA"),
    ("WRONG_VERSION_NUMBER", "it speaks plain text: unset LANECAST_TLS_CA, or give it a certificate"),
    ("CERTIFICATE_REQUIRED", "it asks for a certificate: set LANECAST_TLS_CLIENT_CERTIFICATE"),
)


def explain(message: str) -> str:
    """Return what gRPC says of a connection that failed in a sentence that helps, where it is about TLS."""
    for sign, sentence in _EXPLAINED:
        if sign in message:
            return sentence
    return message


def _read(name: str, option_name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"tls.{option_name} is {name}, which cannot be read: {error.strerror}") from error


def _load_pair(context: ssl.SSLContext, certificate: str, key: str, option_name: str) -> None:
    _read(certificate, option_name)
    _read(key, option_name.replace("certificate", "key"))
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"{certificate} and {key} cannot be used together: give a certificate chain and its own private key as PEM"
            " files, the key without a password"
        ) from error


def _load_authorities(context: ssl.SSLContext, name: str, option_name: str) -> None:
    _read(name, option_name)
    try:
        context.load_verify_locations(name)
    except ssl.SSLError as error:
        raise ConfigError(f"tls.{option_name} is {name}, which has no certificate: give a PEM file") from error


def _no_password() -> str:
    """Answer OpenSSL, which would ask on the terminal."""
    return ""
