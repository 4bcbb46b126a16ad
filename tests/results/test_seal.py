"""Checksums around results: one changed byte costs one study at most, and HDF5 never reads it."""

import random

import pytest

from medscan import results
from medscan.errors import DamagedError
from medscan.results import publish, read_part, seal, write_part
from tests.report import make

KEYS = [f"{number:04x}" for number in range(12)]


def flip(path, at):
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.unlink()
    path.write_bytes(data)


@pytest.fixture
def file(tmp_path):
    studies = [make.study(k, [make.stack("s1", 0.9, 6, size=32, grid=4)]) for k in KEYS]
    return make.results(tmp_path, studies)


def test_what_was_written_is_whole(file):
    assert not file.is_damaged()
    assert (file.keys(), file.damaged()) == (KEYS, [])


@pytest.mark.parametrize("seed", range(8))
def test_a_changed_byte_costs_its_neighbourhood_at_most(file, seed):
    before = {study.key: study.score for study in file.ranked()}
    flip(file.path, random.Random(seed).randrange(file.path.stat().st_size))
    assert file.is_damaged()
    lost = file.damaged()
    # A block of 4 KiB holds parts of several studies as small as these.
    assert len(lost) <= len(KEYS) // 2
    assert file.keys() == [key for key in KEYS if key not in lost]
    assert all(before[s.key] == s.score and len(s.stacks[0].heatmap) for s in file.studies())
    assert file.run() == make.run()


@pytest.mark.parametrize("end", ["first line", "root", "table", "end"])
def test_what_all_studies_share_is_there_twice(file, end):
    with file.path.open("rb") as stream:
        size = seal.read_seal(stream).size
    total = file.path.stat().st_size
    flip(file.path, {"first line": 3, "root": 600, "table": total - 80, "end": total - 3}[end])
    assert file.is_damaged()
    assert (file.keys(), file.damaged(), size < total) == (KEYS, [], True)


def test_no_place_of_a_seal_is_vital(file):
    with file.path.open("rb") as stream:
        size = seal.read_seal(stream).size
    whole, total = file.path.read_bytes(), file.path.stat().st_size
    for at in range(size, total, total // 9):
        flip(file.path, at)
        assert (file.is_damaged(), file.damaged()) == (True, [])
        file.path.unlink()
        file.path.write_bytes(whole)


@pytest.mark.parametrize("seed", range(5))
def test_any_changed_byte_damages_a_part(tmp_path, seed):
    part = tmp_path / "aaa.h5"
    write_part(part, make.study("aaa", [make.stack("s1", 0.9, 6, size=32, grid=4)]))
    assert seal.verified(part) is not None
    flip(part, random.Random(seed).randrange(part.stat().st_size))
    assert seal.verified(part) is None
    assert read_part(part) is None


def test_publishing_leaves_out_what_is_damaged_and_heals_the_rest(tmp_path, file):
    with file.path.open("rb") as stream:
        size = seal.read_seal(stream).size
    flip(file.path, size // 2)
    lost = file.damaged()
    assert lost
    parts = [tmp_path / f"{key}.h5" for key in ("aaa", "bbb")]
    for part in parts:
        write_part(part, make.study(part.stem, [make.stack("s1", 0.9, 6, size=32, grid=4)]))
    flip(parts[1], 5000)
    assert publish(file.path, make.run(), parts) == parts[1:]
    assert not file.is_damaged()
    assert file.keys() == sorted({*KEYS, "aaa"} - {*lost})


def test_a_damaged_study_is_taken_from_an_older_file(tmp_path, file):
    newer = make.results(
        tmp_path,
        [make.study(key, [make.stack("s1", 0.95, 6, size=32, grid=4)]) for key in KEYS],
        make.run(created="2027-01-01T00:00:00+00:00"),
        name="newer.h5",
    )
    with newer.path.open("rb") as stream:
        flip(newer.path, seal.read_seal(stream).size // 2)
    lost = newer.damaged()
    found = {s.key: s.score for one in results.distinct([file, newer]) for s in one.studies()}
    assert sorted(found) == KEYS
    assert {key for key, score in found.items() if score == pytest.approx(0.9, abs=1e-3)} == {*lost}


def test_two_hits_on_what_all_share_are_told_in_a_line(file):
    with file.path.open("rb") as stream:
        found = seal.read_seal(stream)
    flip(file.path, 600)
    flip(file.path, found.copies[0] + 600)
    with pytest.raises(DamagedError, match=r"results\.h5 is damaged \(block 0 is damaged\)"):
        results.open(file.path)
    assert results.readable(file.path) is None


def test_the_same_data_have_the_same_seal(tmp_path):
    study = make.study("aaa", [make.stack("s1", 0.9, 6, size=32, grid=4)])
    for name in ("one", "two"):
        write_part(tmp_path / f"{name}.h5", study)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
