"""A whole system that speaks TLS, with certificates of its own authority, and what is said where they do not fit."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import pytest
import trustme
from websockets.sync.client import connect

from lanecast import (
    BlockingSubscriber,
    Priority,
    Publisher,
    PublisherSettings,
    Start,
    Tls,
    UnavailableError,
)
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import exit_codes

from .conftest import Background, Command, clean_environ, insight

PORTS = ("--publisher-port", "0", "--gateway-port", "0", "--metrics-port", "0", "--http-port", "0")


class Files:
    """An authority, and certificates of it for a service and for a client."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.other_ca = folder / "other-ca.pem"
        trustme.CA().cert_pem.write_to_path(self.other_ca)
        for name, identity in (("service", "127.0.0.1"), ("client", "client.test"), ("elsewhere", "elsewhere.test")):
            issued = authority.issue_cert(identity)
            (folder / f"{name}.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
            issued.private_key_pem.write_to_path(folder / f"{name}.key")
        self._folder = folder

    def serve(self, name: str = "service", *, mutual: bool = False) -> dict[str, str]:
        pair = {
            "LANECAST_TLS_CERTIFICATE": str(self._folder / f"{name}.pem"),
            "LANECAST_TLS_KEY": str(self._folder / f"{name}.key"),
        }
        return {**pair, **({"LANECAST_TLS_CLIENT_CA": str(self.ca)} if mutual else {})}

    def trust(self, *, show: bool = False, ca: Path | None = None) -> dict[str, str]:
        shown = {
            "LANECAST_TLS_CLIENT_CERTIFICATE": str(self._folder / "client.pem"),
            "LANECAST_TLS_CLIENT_KEY": str(self._folder / "client.key"),
        }
        return {"LANECAST_TLS_CA": str(ca or self.ca), **(shown if show else {})}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def publisher(folder: Path, **environ: str) -> Background:
    return Background(
        ["publisher_svc"], folder, LANECAST_PUBLISHER_PORT="0", LANECAST_DATA_DIR=str(folder / "data"), **environ
    )


@pytest.fixture
def secure(files: Files, tmp_path: Path) -> Iterator[str]:
    process = publisher(tmp_path, **files.serve())
    yield process.until(ready="publisher")["address"]
    process.close()


def test_a_whole_system_with_certificates_on_both_sides(files: Files, lanecast: Command, tmp_path: Path) -> None:
    mine = files.trust(show=True)
    arguments = ["lanecast.cli", "up", "--data-dir", "data", "--ready-file", "up.json", "--json", *PORTS]
    system = Background(arguments, tmp_path, **files.serve(mutual=True), **mine)
    try:
        up = system.until(event="up")["urls"]
        published = lanecast("publish", "--ndjson", "-", "--target", up["publisher"], stdin=insight(1), **mine)
        assert published.code == exit_codes.OK, published.err
        tailed = lanecast(
            "tail", "agent:42", "--last", "1", "--count", "1", "--json", "--target", up["publisher"], **mine
        )
        assert tailed.lines[0]["id"] == "e1"
        token = lanecast("token", "--subscribe", "agent:*", "--data-dir", "data").out.strip()
        trusted = ssl.create_default_context(cafile=str(files.ca))
        assert up["websocket"].startswith("wss://")
        with connect(up["websocket"], ssl=trusted, proxy=None) as socket:
            socket.send(json.dumps({"hello": {"token": token}}))
            socket.send(json.dumps({"subscribe": {"channel": "agent:42", "start": "EARLIEST"}}))
            assert any("hint 1" in str(message) for message in socket)
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trusted))
        assert up["dashboard"].startswith("https://")
        with opener.open(up["dashboard"], timeout=10) as page:
            assert page.status == 200
        gateway = up["websocket"].replace("wss:", "https:").replace("/v1/ws", "/readyz")
        healthy = ("health", "--grpc", up["publisher"], "--grpc", up["metrics"], "--http", gateway)
        assert lanecast(*healthy, **mine).code == exit_codes.OK
        assert lanecast(*healthy, **files.trust()).code == exit_codes.UNAVAILABLE, "no certificate was shown"
    finally:
        system.close()
    assert "no stream to the metrics service" not in system.errors.read_text().split("is attached")[-1]


def test_the_sdk_is_told_whom_to_trust(files: Files, secure: str) -> None:
    trusting = Tls(ca=str(files.ca))
    with Publisher(secure, source="test", tls=trusting) as sender:
        sender.publish("agent:42", ConciergeInsight(text="hint"), priority=Priority.HIGH)
    with BlockingSubscriber(secure, tls=trusting) as reader:
        delivery = next(iter(reader.events("agent:42", start=Start.EARLIEST)))
        assert delivery.message == ConciergeInsight(text="hint")
    with (
        pytest.raises(UnavailableError, match="an authority that is not trusted"),
        Publisher(secure, settings=PublisherSettings(connect_timeout=1.0), tls=Tls(ca=str(files.other_ca))),
    ):
        pass


@pytest.mark.parametrize(
    ("ca", "sentence"), [("other_ca", "an authority that is not trusted"), ("", "TLS"), ("missing", "cannot be read")]
)
def test_a_caller_who_does_not_trust_the_service(
    files: Files, lanecast: Command, secure: str, ca: str, sentence: str
) -> None:
    names = {"other_ca": files.other_ca, "missing": Path("missing.pem")}
    environ = files.trust(ca=names[ca]) if ca else {}

    done = lanecast("publish", "--ndjson", "-", "--target", secure, stdin=insight(1), **environ)

    assert done.code != exit_codes.OK
    assert sentence in done.err


def test_a_certificate_for_another_name(files: Files, lanecast: Command, tmp_path: Path) -> None:
    process = publisher(tmp_path, **files.serve("elsewhere"))
    try:
        target = process.until(ready="publisher")["address"]
        done = lanecast("publish", "--ndjson", "-", "--target", target, stdin=insight(1), **files.trust())
    finally:
        process.close()

    assert done.code == exit_codes.UNAVAILABLE
    assert "its certificate is not for that name" in done.err


def test_tls_to_a_service_that_speaks_plain_text(files: Files, lanecast: Command, tmp_path: Path) -> None:
    process = publisher(tmp_path)
    try:
        target = process.until(ready="publisher")["address"]
        done = lanecast("publish", "--ndjson", "-", "--target", target, stdin=insight(1), **files.trust())
    finally:
        process.close()

    assert done.code == exit_codes.UNAVAILABLE
    assert "it speaks plain text" in done.err


def test_services_that_could_not_call_one_another_are_not_started(files: Files, lanecast: Command) -> None:
    done = lanecast("up", *PORTS, **files.serve())

    assert done.code == exit_codes.USAGE
    assert "tls.certificate and tls.ca" in done.err
    assert "LANECAST_TLS_CA" not in clean_environ()
