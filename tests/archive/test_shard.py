"""Shares of an archive: every study and every file in exactly one, whatever else is there."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medscan.archive import (
    ArchiveFile,
    Catalogue,
    Header,
    Kind,
    Outcome,
    Pseudonyms,
    Reason,
    from_json,
    group,
    index,
    readers,
    shard_number,
    walk,
)
from medscan.archive.header import Layer, VolumeGeometry
from medscan.archive.shard import is_needed, restrict_to_shard
from medscan.choices import Plane, Shard
from medscan.planning.ledger import Ledger

from .conftest import write

MESSY = Path(__file__).parents[3] / "shared" / "archive" / "files"
ROOT = Path("/archive")


def shards(count):
    return [Shard(number, count) for number in range(1, count + 1)]


def joined(parts):
    """The union of catalogues, in the order of a whole one; nothing may be in two."""
    studies = sorted(chain.from_iterable(p.studies for p in parts), key=lambda s: s.key)
    aside = sorted(chain.from_iterable(p.set_aside for p in parts), key=lambda o: o.file)
    companions = [pair for p in parts for pair in p.companions.items()]
    assert len({file for file, _ in companions}) == len(companions)
    return studies, aside, sorted(companions)


def by_key(catalogue):
    return joined([catalogue])


# --- what was read of files, without files -----------------------------------------------------

# The last two look like what stands for studies without a UID.
UIDS = st.sampled_from(["", "1.2", "1.3", "junk", "series:1.2", "path:a"])
LAYER = Layer(4, 6, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.5, 0.5))
VOLUME = VolumeGeometry((2, 3, 4), tuple(np.eye(4).ravel().tolist()), 48)


def dicom(file, study, series, instance):
    uids = {"study_uid": study, "series_uid": series, "sop_instance_uid": instance}
    return Header(file, Kind.DICOM, layers=(LAYER,), facts={"Modality": "CT"}, **uids)


def volume(file, companion):
    name = companion and str(Path(file.path).with_suffix(".img"))
    return Header(file, Kind.NIFTI, 0, volume=replace(VOLUME, companion=name))


READ = st.one_of(
    st.builds(lambda *uids: lambda file: dicom(file, *uids), UIDS, UIDS, UIDS),
    st.builds(lambda paired: lambda file: volume(file, paired), st.booleans()),
    st.builds(
        lambda reason, *uids: lambda file: Outcome(file, reason, "", *uids),
        st.sampled_from([Reason.NOT_AN_IMAGE, Reason.CORRUPT, Reason.UNREADABLE]),
        UIDS,
        UIDS,
    ),
)
PLACE = st.tuples(
    st.sampled_from([ROOT, Path("/other")]),
    st.sampled_from("abcdef"),
    st.sampled_from(["", ".hdr", ".img"]),
)


@settings(max_examples=150)
@given(st.dictionaries(PLACE, READ, max_size=12), st.integers(1, 5))
def test_shares_are_disjoint_and_complete(read, count):
    files = {place: ArchiveFile(place[1] + place[2], place[0], 100, 1) for place in read}
    found = [make(files[place]) for place, make in read.items()]
    whole = group(found)
    parts = [
        restrict_to_shard(group([item for item in found if is_needed(shard, item)]), shard)
        for shard in shards(count)
    ]
    assert joined(parts) == by_key(whole)
    for shard, part in zip(shards(count), parts, strict=True):
        assert {shard_number(study, count) for study in part.studies} <= {shard.number}


@given(st.text(min_size=1), st.integers(1, 999))
def test_a_share_depends_on_neither_place_nor_secret(path, count):
    file = ArchiveFile(path, ROOT, 1, 1)
    moved = ArchiveFile(path, Path("/mnt/elsewhere"), 2, 2)
    numbers = {
        shard_number(study, count)
        for one in (file, moved)
        for name in (str, Pseudonyms(b"a").digest, Pseudonyms(b"b").digest)
        for study in group([volume(one, "")], name=name).studies
    }
    assert len(numbers) == 1


def test_the_shares_of_known_studies():
    """They must never change: a study would be in two shards, or in none."""
    file = ArchiveFile("a/head.nii.gz", ROOT, 1, 1)
    (named,) = group([dicom(file, "1.2.840.1", "", "")]).studies
    (series,) = group([dicom(file, "", "1.2.840.1", "")]).studies
    (path,) = group([volume(file, "")]).studies
    assert [shard_number(study, 1000) for study in (named, series, path)] == KNOWN


KNOWN = [163, 524, 406]


def test_shares_are_about_equal():
    file = ArchiveFile("a", ROOT, 1, 1)
    found = [dicom(replace(file, path=str(n)), f"1.2.{n}", "", "") for n in range(4000)]
    sizes = Counter(shard_number(study, 8) for study in group(found).studies)
    assert sorted(sizes) == list(range(1, 9))
    assert max(sizes.values()) < 1.15 * 500


# --- files -------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for n in range(12):
        write(root / f"s{n}" / "I0", SOPInstanceUID=f"1.{n}.1", StudyInstanceUID=f"1.{n}")
        write(root / "mixed" / f"{n}", SOPInstanceUID=f"1.{n}.2", StudyInstanceUID=f"1.{n}")
    nameless = {"StudyInstanceUID": None, "SeriesInstanceUID": None, "SOPInstanceUID": "1.9"}
    for name in ("x", "y", "z"):
        write(root / "loose" / name, **nameless)
    for n in range(4):
        data = np.zeros((2, 3, 4), np.int16)
        nib.save(nib.Nifti1Pair(data, np.eye(4)), root / f"pair{n}.img")
        (root / f"note{n}.txt").write_text("no image")
    return root


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_of_files_make_up_the_archive(tree, count):
    secret = Pseudonyms(b"key")
    whole = index([tree], pseudonyms=secret)
    parts = [index([tree], pseudonyms=secret, shard=shard) for shard in shards(count)]
    assert joined(parts) == by_key(whole)
    assert any(o.reason is Reason.DUPLICATE for o in whole.set_aside)
    assert len(whole.companions) == 4


def test_a_share_is_remembered_as_such(tree, monkeypatch):
    ledger = Ledger(None)
    first = index([tree], cache=ledger, shard=Shard(1, 2))
    assert index([tree], cache=ledger, shard=Shard(2, 2)) != first
    assert index([tree], cache=ledger) == index([tree])
    again = index([tree], cache=ledger, shard=Shard(1, 2))
    monkeypatch.setattr(readers, "read_header", None)
    assert index([tree], cache=ledger, shard=Shard(1, 2)) == again == first
    ledger.close()


@pytest.mark.skipif(not MESSY.is_dir(), reason="no archive beside the repository")
def test_shares_of_a_messy_archive():
    ledger, secret = Ledger(None), Pseudonyms(b"key")
    whole = index([MESSY], cache=ledger, pseudonyms=secret)
    parts: list[Catalogue] = [
        index([MESSY], cache=ledger, pseudonyms=secret, shard=shard) for shard in shards(3)
    ]
    assert joined(parts) == by_key(whole)
    assert all(part.studies and part.set_aside for part in parts)
    ledger.close()


def test_what_files_of_a_study_share_is_in_memory_once(tree):
    ledger = Ledger(None)
    index([tree], cache=ledger, plane=Plane.AXIAL)
    named = {"s3/I0", "mixed/3"}
    files = [f for f in walk(tree) if isinstance(f, ArchiveFile) and f.path in named]
    texts = zip(files, ledger.get(files), strict=True)
    one, other = (from_json(file, json.loads(text)) for file, text in texts)
    assert one.study_uid == "1.3"
    for name in ("study_uid", "series_uid", "patient_id", "modality"):
        assert getattr(one, name) is getattr(other, name)
    ledger.close()
