"""The worklist beside the results is of these results, whatever the clocks say."""

import os

import pytest

from medscan.errors import LockedError
from medscan.scanning import scan
from medscan.scanning.lock import locked
from tests import tiny


@pytest.fixture
def one(root):
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2), study="1.1")
    return root


@pytest.fixture
def written():
    return []


@pytest.fixture
def publish(written):
    def write(out, table, page):
        with pytest.raises(LockedError), locked(out):
            pass
        written.append(out.stat().st_size)
        for path in (table, page):
            path.write_text("written")

    return write


def test_it_is_written_under_the_lock_and_once(options, one, publish, written):
    for _ in range(2):
        scan(options, publish=publish)
    assert len(written) == 1


def test_a_clock_that_was_set_back_leaves_no_old_worklist(options, one, publish, written):
    scan(options, publish=publish)
    for path in options.outputs.worklists:
        os.utime(path, (2**33, 2**33))
    tiny.write_series(one / "b", tiny.head_volume(2, slices=2), study="1.2")
    scan(options, publish=publish)
    assert len(written) == 2


def test_a_lost_page_is_written_again(options, one, publish, written):
    scan(options, publish=publish)
    options.outputs.out.with_suffix(".html").unlink()
    scan(options, publish=publish)
    assert len(written) == 2
