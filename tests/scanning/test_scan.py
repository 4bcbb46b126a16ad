"""A scan from start to end: what it writes, and that nothing but the images decides it."""

import json
import shutil
import signal
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from medscan import detector, results
from medscan.errors import DiskError, LockedError, UsageError
from medscan.results import State
from medscan.scanning import scan
from medscan.scanning.lock import locked
from medscan.scoring import HEADER_UNUSED
from tests import tiny
from tests.content import content
from tests.options import changed, small_scan

STUDIES = 3
KEPT = {"results.h5", "results.h5.ledger", "key"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three MR studies as DICOM, one NIfTI, a CT series, junk and a broken file."""
    root = tmp_path_factory.mktemp("archive")
    for number in range(STUDIES):
        folder = root / f"patient{number}"
        tiny.write_series(folder, tiny.head_volume(number), study=f"1.2.3.{number}")
    tiny.write_nifti(root / "loose" / "head.nii.gz", tiny.head_volume(7))
    tiny.write_series(
        root / "ct", tiny.head_volume(8), study="1.2.3.9", Modality="CT", BodyPartExamined="CHEST"
    )
    (root / "notes.txt").write_text("not an image")
    broken = sorted((root / "patient1").iterdir())[2]
    broken.write_bytes(broken.read_bytes()[:-500])
    return root


@pytest.fixture
def options(archive, detector_file, tmp_path):
    return small_scan(archive, detector_file, tmp_path)


def test_every_file_has_one_bucket_and_every_slice_an_end(options, archive):
    summary = scan(options)
    files = [p for p in archive.rglob("*") if p.is_file()]
    assert sum(summary.files.values()) == len(files)
    assert summary.files["failed"] == 1
    assert summary.reasons["truncated"] == 1
    assert summary.reasons["out-of-scope"] == 6
    assert summary.reasons["not-an-image"] == 1
    read = results.open(options.outputs.out)
    run = read.run()
    assert run.counts["files"] == len(files)
    assert [row[0].split("/")[0] for row in run.failures] == ["patient1"]
    studies = list(read.studies())
    assert len(studies) == STUDIES + 2
    for study in studies:
        for stack in study.stacks:
            count = len(stack.path)
            assert stack.heatmap.shape == (count, 4, 4)
            assert np.isnan(stack.slice_score[stack.state != State.SCORED]).all()
            assert np.isfinite(stack.slice_score[stack.state == State.SCORED]).all()
            assert stack.grid_to_pixel.shape == (count, 2, 3)
    assert sum(study.info["slices"] for study in studies) == summary.slices == STUDIES * 6 - 1 + 6


def test_run_again_it_does_nothing_and_says_so(options):
    scan(options)
    before = options.outputs.out.read_bytes()
    summary = scan(options)
    assert summary.scanned == 0
    assert summary.line().startswith("nothing new: 5 studies unchanged")
    assert options.outputs.out.read_bytes() == before
    assert {p.name for p in options.outputs.out.parent.iterdir()} == KEPT


def test_only_what_changed_is_scanned_again(options, archive, tmp_path):
    root = tmp_path / "growing"
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    tiny.write_series(root / "b", tiny.head_volume(2), study="1.2")
    options = changed(options, roots=(root,))
    assert scan(options).scanned == 2
    tiny.write_series(root / "c", tiny.head_volume(3), study="1.3")
    sorted((root / "a").iterdir())[0].unlink()
    summary = scan(options)
    assert (summary.scanned, summary.unchanged) == (2, 1)
    assert len(results.open(options.outputs.out).keys()) == 3
    options.outputs.out.unlink()
    assert scan(options).scanned == 3


def test_results_of_other_archives_are_kept(options, tmp_path):
    scan(options)
    tiny.write_series(tmp_path / "other", tiny.head_volume(3), study="9.9")
    scan(changed(options, roots=(tmp_path / "other",)))
    assert len(results.open(options.outputs.out).keys()) == STUDIES + 3


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_no_byte(options, tmp_path, workers):
    scan(options)
    other = changed(options, out=tmp_path / "other.h5", workers=workers)
    scan(other)
    assert content(options.outputs.out) == content(other.outputs.out)


def test_a_study_alone_has_the_bytes_it_has_among_others(options, archive, tmp_path):
    scan(options)
    alone = changed(options, roots=(archive / "patient2",), out=tmp_path / "alone.h5")
    scan(alone)
    (key,) = results.open(alone.outputs.out).keys()
    among = {k: v for k, v in content(options.outputs.out).items() if k.startswith(key)}
    lone = content(alone.outputs.out)
    other = [f"{key}@{name}" for name in ("path", "content", "root")]
    other += [name for name in lone if name.endswith(("@source", "@asked"))]  # of paths
    for name in [*other, f"{key}/files"]:  # below another root
        among.pop(name)
        lone.pop(name)
    texts = [name for name in lone if name.endswith("/path")]
    assert len(texts) == 1
    for name in texts:
        among.pop(name)
        lone.pop(name)
    assert lone == among


def test_the_order_of_files_does_not_matter(options, archive, tmp_path, monkeypatch):
    import os

    scan(options)
    real = os.scandir

    class Reversed(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def close(self):
            return None

    def backwards(path):
        with real(path) as entries:
            return Reversed(reversed(list(entries)))

    monkeypatch.setattr(os, "scandir", backwards)
    other = changed(options, out=tmp_path / "other.h5")
    scan(other)
    assert content(options.outputs.out) == content(other.outputs.out)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_batch_sizes_agree(options, tmp_path, batch_size):
    scan(options)
    other = changed(options, out=tmp_path / "other.h5", batch_size=batch_size)
    scan(other)
    pairs = zip(
        results.open(options.outputs.out).studies(),
        results.open(other.outputs.out).studies(),
        strict=True,
    )
    for one, two in pairs:
        for a, b in zip(one.stacks, two.stacks, strict=True):
            assert np.allclose(a.slice_score, b.slice_score, atol=1e-5, equal_nan=True)
            steps = np.spacing(np.maximum(np.abs(a.heatmap), np.abs(b.heatmap)))
            assert (np.abs(a.heatmap - b.heatmap) <= np.maximum(steps, 1e-5)).all()


def test_a_nifti_of_a_series_scores_as_the_series(options, tmp_path):
    volume = tiny.head_volume(4)
    tiny.write_series(tmp_path / "two" / "dicom", volume, study="4.4")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])  # the series' LPS axes, told in RAS
    tiny.write_nifti(tmp_path / "two" / "nifti.nii.gz", volume, affine)
    scan(changed(options, roots=(tmp_path / "two",)))
    first, second = (s.stacks[0] for s in results.open(options.outputs.out).studies())
    assert np.allclose(first.slice_score, second.slice_score, atol=1e-3)
    assert np.allclose(first.heatmap, second.heatmap, atol=1e-3)


def test_identity_leaves_only_when_asked_for(options, archive, tmp_path):
    scan(options)
    study = next(s for s in results.open(options.outputs.out).studies() if s.info["patient"])
    assert study.info["patient"] != "P1"
    assert "patient_id" not in study.info
    named = changed(options, out=tmp_path / "named.h5", identify=True)
    scan(named)
    found = {s.info.get("patient_id") for s in results.open(named.outputs.out).studies()}
    assert "P1" in found
    patients = {s.info["patient"] for s in results.open(options.outputs.out).studies()}
    assert len(patients) == 2  # one for P1 in all studies, none for the NIfTI


def test_a_second_scan_is_told_who_holds_the_lock(options):
    with locked(options.outputs.out), pytest.raises(LockedError, match="in use by process"):
        scan(options)
    assert not options.outputs.out.exists()
    scan(options)


def test_a_stop_finishes_the_study_in_hand(options, tmp_path):
    for number in range(12):  # the decoder is a few studies ahead
        volume = tiny.head_volume(number, slices=4)
        tiny.write_series(tmp_path / "many" / f"{number:02d}", volume, study=f"1.{number}")
    options = changed(options, roots=(tmp_path / "many",))
    stopped = False

    def once(_done, _studies, slices, _failures):
        nonlocal stopped
        if not stopped and slices >= 4:
            stopped = True
            signal.raise_signal(signal.SIGTERM)

    summary = scan(options, once)
    assert summary.stopped == "SIGTERM"
    assert summary.left > 0
    assert "left over (SIGTERM)" in summary.line()
    kept = results.open(options.outputs.out).keys()
    assert len(kept) == summary.scanned
    again = scan(options)
    assert again.scanned == summary.left
    assert again.unchanged == summary.scanned


def test_a_killed_scan_goes_on_from_its_parts(options, monkeypatch):
    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            scan(options)
    assert not options.outputs.out.exists()
    assert len(list(options.outputs.parts.glob("*.h5"))) == STUDIES + 2
    summary = scan(options)
    assert summary.scanned == 0
    assert len(results.open(options.outputs.out).keys()) == STUDIES + 2
    assert not options.outputs.parts.exists()


def test_a_part_that_a_killed_scan_still_writes_is_left_to_the_next_scan(
    options, tmp_path, monkeypatch
):
    """Published without the ledger's knowledge, its study would be scanned again."""
    killed, first = changed(options, out=tmp_path / "killed.h5"), changed(options, max_studies=2)
    with monkeypatch.context() as patch:
        patch.setattr(results, "publish", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            scan(killed)
    scan(changed(first, out=tmp_path / "first.h5"))
    taken = results.open(tmp_path / "first.h5").keys()
    late = next(part for part in killed.outputs.parts.iterdir() if part.stem not in taken)

    def write_late(*_counts):
        shutil.copy(late, options.outputs.parts)

    assert scan(first, write_late).scanned == 2
    assert results.open(options.outputs.out).keys() == taken
    assert scan(options).scanned == STUDIES + 2 - 3
    assert len(results.open(options.outputs.out).keys()) == STUDIES + 2
    assert not options.outputs.parts.exists()


def test_an_empty_folder_is_one_line(options, tmp_path):
    (tmp_path / "empty").mkdir()
    summary = scan(changed(options, roots=(tmp_path / "empty",)))
    assert summary.line().startswith("nothing to scan")
    assert not options.outputs.out.exists()


def test_wrong_options_write_nothing(options, tmp_path):
    before = set(tmp_path.iterdir())
    with pytest.raises(UsageError, match="does not exist"):
        scan(changed(options, roots=(tmp_path / "none",)))
    with pytest.raises(UsageError, match="not a folder"):
        scan(changed(options, out=tmp_path / "none" / "r.h5"))
    with pytest.raises(UsageError, match="no detector"):
        scan(changed(options, detectors=()))
    assert set(tmp_path.iterdir()) == before


def test_results_inside_the_archive_are_not_part_of_it(options, tmp_path):
    root = tmp_path / "root"
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    options = changed(options, roots=(root,), out=root / "results.h5")
    first = scan(options)
    assert sum(scan(options).files.values()) == sum(first.files.values()) == 6
    assert json.dumps(first.files)


def test_a_file_that_is_named_like_an_end_of_ours_alone_is_not_ours(options, three):
    for name in (".lock", ".damaged", "-journal"):
        (three / name).write_text("no image")
    assert scan(changed(options, roots=(three,))).reasons == {"not-an-image": 3, "scanned": 9}


def test_the_same_path_below_two_roots_is_two_studies(options, tmp_path):
    for name, scale in (("one", 1), ("two", 3)):
        volume = tiny.head_volume(3 if scale == 1 else 4) * scale
        tiny.write_nifti(tmp_path / name / "sub" / "v.nii", volume.astype(np.int16))
    one, two = tmp_path / "one", tmp_path / "two"
    together = changed(options, roots=(one, two), out=tmp_path / "both.h5")
    scan(together)
    scan(changed(options, roots=(one,)))
    scan(changed(options, roots=(two,)))
    apart = sorted(s.score for s in results.open(options.outputs.out).studies())
    both = sorted(s.score for s in results.open(together.outputs.out).studies())
    assert apart == both
    assert len(set(both)) == 2
    again = scan(changed(options, roots=(two,)))
    assert (again.scanned, again.unchanged) == (0, 1)


def test_failures_are_tried_again_with_other_tools(options, archive):
    assert scan(changed(options, max_file_bytes=1000)).files["failed"] > 1
    again = scan(options)
    assert again.scanned == STUDIES + 1
    assert again.files["failed"] == 1
    assert scan(options).scanned == 0


def test_the_accounting_is_todays(options, tmp_path):
    root = tmp_path / "root"
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    options = changed(options, roots=(root,))
    scan(options)
    (root / "notes.txt").write_text("new")
    summary = scan(options)
    assert summary.scanned == 0
    assert results.open(options.outputs.out).run().counts["files"] == 7


def test_half_written_files_of_a_killed_scan_are_swept(options):
    options.outputs.parts.mkdir()
    (options.outputs.parts / ".abc.h5.99.part").write_bytes(b"half")
    (options.outputs.out.parent / ".results.h5.99.part").write_bytes(b"half")
    scan(options)
    assert {p.name for p in options.outputs.out.parent.iterdir()} == KEPT


def test_links_are_not_written_through(options, tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "results.h5.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(DiskError, match="lock cannot be written"):
        scan(options)
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_full_disk_is_one_line_and_costs_nothing(options, monkeypatch):
    free = shutil.disk_usage(options.outputs.out.parent)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: free)
        summary = scan(options)
    assert "0 MiB free" in summary.failure
    assert (summary.scanned, summary.left) == (0, STUDIES + 2)
    assert not options.outputs.out.exists()
    summary = scan(options)
    assert summary.scanned == STUDIES + 2
    assert len(results.open(options.outputs.out).keys()) == STUDIES + 2


def test_a_wrong_backbone_leaves_nothing(options, detector_file, tmp_path):
    (tmp_path / "key").unlink()
    options = changed(options, key_file=None)
    read = detector.read(detector_file)
    missing = replace(read, backbone="no-such-backbone")
    with pytest.raises(UsageError, match="not on this machine"):
        scan(changed(options, detectors=((detector_file, missing),)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match=r"end --out in \.h5"):
        scan(changed(options, out=tmp_path / "results.csv"))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_scores(options, precision):
    scan(changed(options, precision=precision))
    study = next(s for s in results.open(options.outputs.out).studies() if s.stacks)
    assert np.isfinite(study.stacks[0].slice_score).any()


def test_stacks_drawn_without_their_headers_window_are_noted_and_counted(options, tmp_path):
    """The page shows the notes of a stack; results.h5 holds them."""
    root = tmp_path / "films"
    volume = tiny.head_volume(3)
    tiny.write_series(root / "usable", volume, study="1.1")
    unusable = {"RescaleSlope": "1e300", "RescaleIntercept": "0"}
    tiny.write_series(root / "unusable", volume, study="1.2", **unusable)
    summary = scan(changed(options, roots=(root,)))
    assert summary.header_unused == 1
    assert summary.as_dict()["header_unused"] == 1
    assert summary.files["scanned"] == 2 * volume.shape[2]
    stacks = {
        study.info["StudyInstanceUID"]: study.stacks[0]
        for study in results.open(options.outputs.out).studies()
    }
    assert HEADER_UNUSED in stacks["1.2"].info["notes"]
    assert HEADER_UNUSED not in stacks["1.1"].info["notes"]
    assert np.allclose(stacks["1.1"].slice_score, stacks["1.2"].slice_score, atol=1e-3)
