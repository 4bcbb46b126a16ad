"""Mutated headers and pixels: nothing crashes, hangs or gets lost; benchmarks/fuzz runs longer."""

from __future__ import annotations

import random
import struct
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.tag import Tag

from medscan.archive import Header, Outcome, dicom, index, read_header
from tests.benchmarks.fuzz import corpus, fuzz, mutated

from .conftest import as_file, write


def test_mutated_files_are_read_drawn_and_accounted_for(tmp_path):
    report = fuzz(tmp_path, files=400, seed=5, workers=1, until=time.monotonic() + 12)
    assert report.problems == []
    assert report.outcomes["files"] >= 10  # 400 on an idle machine
    assert report.outcomes["frames drawn"] > 0


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write(tmp_path_factory.mktemp("fuzz") / "x", SeriesDescription="d").read_bytes()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=8)), max_size=6))
def test_mutated_headers_never_raise(tmp_path, sample, changes):
    content = bytearray(sample)
    for at, value in changes:
        content[at % len(content) : at % len(content) + len(value)] = value
    (tmp_path / "x").write_bytes(content)
    found = read_header(as_file(tmp_path / "x"))
    assert isinstance(found, Header | Outcome)
    catalogue = index([tmp_path])
    assert len(catalogue.studies) + len(catalogue.set_aside) == 1


def by_pydicom(file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(dicom, "read_elements", lambda *_: None)
        return read_header(file)


def test_plain_headers_are_read_as_pydicom_reads_them(tmp_path, monkeypatch):
    rng, sources = random.Random(3), [c for _, c in corpus() if c[128:132] == b"DICM"]
    path = tmp_path / "x"
    for content in [*sources, *(mutated(rng, rng.choice(sources)) for _ in range(250))]:
        path.write_bytes(content)
        assert read_header(as_file(path)) == by_pydicom(as_file(path), monkeypatch)


@pytest.mark.parametrize("inner", [b"US", b"FD"])
@pytest.mark.parametrize(
    "keyword", [k for k in dicom._KEYWORDS if k not in ("Rows", "Columns", "BitsAllocated")]
)
def test_a_value_that_claims_to_be_a_sequence(tmp_path, keyword, inner):
    tag = Tag(keyword)
    raw = element(0x28, 0x10, inner, b"abc", implicit=False)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(raw)) + raw
    claim = struct.pack("<HH2sHL", tag.group, tag.element, b"SQ", 0, len(item)) + item
    plain = write(tmp_path / "plain", **{keyword: None}).read_bytes()
    at = plain.index(b"\x28\0\x10\0US") if tag < 0x00280010 else plain.index(b"\xe0\x7f\x10\0")
    (tmp_path / "x").write_bytes(plain[:at] + claim + plain[at:])
    assert isinstance(read_header(as_file(tmp_path / "x")), Header | Outcome)


texts = st.text(st.sampled_from("0123456789+-.eE \\\0a\x1b\xe4"), max_size=12)
TEXTS = [
    (0x8, 0x8, b"CS"),
    (0x10, 0x20, b"LO"),
    (0x18, 0x86, b"IS"),
    (0x18, 0x1060, b"DS"),
    (0x20, 0x11, b"IS"),
    (0x28, 0x30, b"DS"),
]


def element(group, number, vr, raw, implicit):
    raw += b" " * (len(raw) % 2)
    if implicit:
        return struct.pack("<HHL", group, number, len(raw)) + raw
    return struct.pack("<HH2sH", group, number, vr, len(raw)) + raw


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.lists(texts, min_size=6, max_size=6), implicit=st.booleans())
def test_any_value_is_read_as_pydicom_reads_it(tmp_path, monkeypatch, values, implicit):
    syntax = b"1.2.840.10008.1.2\0" if implicit else b"1.2.840.10008.1.2.1\0"
    meta = element(2, 0x10, b"UI", syntax, implicit=False)
    head = bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<L", len(meta)), False) + meta
    body = [
        element(*tag, value.encode("latin-1"), implicit)
        for tag, value in zip(TEXTS, values, strict=True)
    ]
    shape = ((0x10, 2), (0x11, 3), (0x100, 8))
    body += [element(0x28, n, b"US", struct.pack("<H", v), implicit) for n, v in shape]
    pixels = b"\xe0\x7f\x10\0" + (b"" if implicit else b"OW\0\0") + b"\6\0\0\0" + bytes(6)
    (tmp_path / "x").write_bytes(head + b"".join(body) + pixels)
    file = as_file(tmp_path / "x")
    found = read_header(file)
    assert isinstance(found, Header)
    assert found == by_pydicom(file, monkeypatch)
