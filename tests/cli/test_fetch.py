"""What a person sees of `medscan fetch`."""

import pytest

from tests import tiny
from tests.pacs.stand_in import StandIn

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_progress(inside, tmp_path, monkeypatch, terminal):
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(terminal)))
    tiny.write_series(tmp_path / "in", tiny.head_volume(0, 4, 8), study="1.2.0")
    with StandIn() as server:
        server.add(tmp_path / "in")
        code, out, err = inside("fetch", server.url, "--into", "spool")
    assert (code, len(out.splitlines())) == (0, 1)
    assert out.startswith("1 of 1 studies whole: 4 objects fetched")
    if terminal:
        assert "1/1" in err
        assert "objects/s, 0 problems" in err
    else:
        assert err == ""
