"""Text headers are read in a time that grows no faster than the text: an archive is hostile."""

import time

import pytest

from medscan.archive import Kind
from medscan.archive.elements import _DECIMAL
from medscan.archive.nrrd import _directions
from medscan.archive.sniff import sniff
from medscan.errors import UnsupportedError


@pytest.mark.parametrize("line", [b"name = value\n", b"name =    value\n", b"a = b = c\n"])
def test_lines_like_those_of_a_metaimage_are_refused_at_once(line):
    started = time.process_time()
    assert sniff(line * (4096 // len(line))).kind is None
    assert time.process_time() - started < 1.0  # some 25 such lines took minutes


@pytest.mark.parametrize(
    "head",
    [
        b"ObjectType = Image\nNDims = 3\n",
        b"\n Comment =   a = b\nDimSize=4 4 4\n",
        b"ObjectType = Image\r\nNDims  =  2\r\n",
    ],
)
def test_metaimage_headers_are_recognised_as_before(head):
    assert sniff(head).kind is Kind.ITK


def seconds(work):
    started = time.process_time()
    work()
    return time.process_time() - started


@pytest.mark.parametrize("text", ["(", "(1,0,0", "none(", "((1,0,0)"])
def test_directions_of_an_nrrd_take_linear_time(text):
    def read(size):
        fields = {"spacedirections": (text * (size // len(text) + 1))[:size]}
        with pytest.raises(UnsupportedError):
            _directions(fields, 3)

    read(1 << 10)
    small = min(seconds(lambda: read(1 << 18)) for _ in range(3))
    large = min(seconds(lambda: read(1 << 20)) for _ in range(3))
    assert large < 0.05 + 12 * small


@pytest.mark.parametrize("text", ["1", "1.5", ".5", "1.", "-2.5e-3", "+1E5"])
def test_decimal_strings_are_those_of_the_standard(text):
    assert _DECIMAL.fullmatch(text)


def test_a_long_number_that_is_none_is_refused_at_once():
    assert seconds(lambda: _DECIMAL.fullmatch("1" * (1 << 20) + "x")) < 1.0
