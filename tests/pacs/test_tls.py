"""A service that shows a certificate, and asks for one."""

import ssl

import pytest

from medscan.errors import UnavailableError
from medscan.pacs import Login, Web, web_address
from tests import tiny
from tests.pacs.stand_in import StandIn

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def server(certificate, tmp_path):
    tiny.write_series(tmp_path / "in", tiny.head_volume(1, 2, 8), study="1.2.1")
    stand_in = StandIn()
    stand_in.add(tmp_path / "in")
    stand_in.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stand_in.tls.load_cert_chain(certificate / "ca.pem", certificate / "key.pem")
    with stand_in:
        yield stand_in


def studies(server, login):
    source = Web(web_address(server.url, login), login, 5.0)
    try:
        return len(list(source.studies({})))
    finally:
        source.close()


def test_only_an_authority_that_is_named_is_trusted(server, certificate):
    with pytest.raises(UnavailableError, match="not signed by an authority that is trusted"):
        studies(server, Login(token="secret"))  # noqa: S106
    assert server.asked == []
    assert studies(server, Login(token="secret", ca=str(certificate / "ca.pem"))) == 1  # noqa: S106


def test_medscan_shows_its_own_certificate(server, certificate):
    server.tls.verify_mode = ssl.CERT_REQUIRED
    server.tls.load_verify_locations(certificate / "ca.pem")
    ca, key = (str(certificate / name) for name in ("ca.pem", "key.pem"))
    with pytest.raises(UnavailableError):
        studies(server, Login(ca=ca))
    assert studies(server, Login(ca=ca, certificate=ca, key=key)) == 1
