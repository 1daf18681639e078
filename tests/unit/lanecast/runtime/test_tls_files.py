"""The section `tls`: what it may say, and what is said of files that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from lanecast import Tls
from lanecast.errors import ConfigError
from lanecast.runtime import tls
from lanecast.runtime.tls import TlsConfig
from lanecast.transport import Targets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(made / "ca.pem")
    for name in ("one", "two"):
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(made / f"{name}.pem")
        issued.private_key_pem.write_to_path(made / f"{name}.key")
    (made / "text.pem").write_text("no certificate")
    return made


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"certificate": "a"}, "tls.certificate and tls.key go together"),
        ({"key": "a"}, "tls.certificate and tls.key go together"),
        ({"ca": "a", "client_key": "a"}, "tls.client_certificate and tls.client_key go together"),
        ({"client_ca": "a"}, "set tls.certificate too"),
        ({"client_certificate": "a", "client_key": "a"}, "set tls.ca too"),
    ],
)
def test_a_section_that_contradicts_itself(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TlsConfig(**options)


def test_an_empty_section_is_plain_text() -> None:
    own = tls.settings({})
    assert (tls.server_context(own), tls.server_credentials(own), tls.client_context(own)) == (None, None, None)


def test_files_that_fit_are_used(folder: Path) -> None:
    own = TlsConfig(certificate=str(folder / "one.pem"), key=str(folder / "one.key"), ca=str(folder / "ca.pem"))
    server, client = tls.server_context(own), tls.client_context(own)
    assert server is not None
    assert client is not None
    assert tls.server_credentials(own) is not None
    assert server.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert server.verify_mode is ssl.CERT_NONE, "browsers are asked for no certificate"
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert client.check_hostname


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        ("one.pem", "two.key", "cannot be used together"),
        ("text.pem", "one.key", "cannot be used together"),
        ("none.pem", "one.key", "tls.certificate is .*none.pem, which cannot be read"),
        ("one.pem", "none.key", "tls.key is .*none.key, which cannot be read"),
    ],
)
def test_a_pair_that_does_not_fit(folder: Path, certificate: str, key: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tls.server_context(TlsConfig(certificate=str(folder / certificate), key=str(folder / key)))


def test_authorities_that_are_none(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls.ca is .*text.pem, which has no certificate"):
        tls.client_context(TlsConfig(ca=str(folder / "text.pem")))
    pair = {"certificate": str(folder / "one.pem"), "key": str(folder / "one.key")}
    with pytest.raises(ConfigError, match=r"tls.client_ca is .*text.pem, which has no certificate"):
        tls.server_context(TlsConfig(**pair, client_ca=str(folder / "text.pem")))


def test_the_authorities_of_the_system_can_be_trusted() -> None:
    assert tls.client_context(TlsConfig(ca=tls.SYSTEM_CA)) is not None


def test_a_failure_of_tls_is_explained_and_another_is_left_alone() -> None:
    assert "LANECAST_TLS_CA" in tls.explain("Ssl handshake failed: CERTIFICATE_VERIFY_FAILED: self signed")
    assert "not for that name" in tls.explain("Hostname Verification Check failed.")
    assert tls.explain("Connection refused") == "Connection refused"


def test_what_a_program_says_of_tls_goes_with_its_targets(folder: Path) -> None:
    assert Targets("127.0.0.1:7400").tls is None
    own = Targets("127.0.0.1:7400", Tls(ca=str(folder / "ca.pem"))).tls
    assert own == TlsConfig(ca=str(folder / "ca.pem"))
    with pytest.raises(ConfigError, match="certificate and key together"):
        Tls(certificate="a")
    with pytest.raises(ConfigError, match="trusts nobody"):
        Tls(ca="")
    with pytest.raises(ConfigError, match="cannot be read"):
        Tls(ca=str(folder / "none.pem"))
