"""`medscan verify` and `medscan locate`."""

import json
import os
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from medscan import results
from medscan.inspect.integrity import ARRAYS
from tests import tiny
from tests.edited import edited
from tests.options import scan_options


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("verified") / "archive"
    for number in range(3):
        tiny.write_series(root / f"p{number}", tiny.head_volume(number), study=f"1.2.{number}")
    tiny.write_nifti(root / "Doe" / "head.nii.gz", tiny.head_volume(7))
    broken = sorted((root / "p1").iterdir())[2]
    broken.write_bytes(broken.read_bytes()[:-500])
    (root / "notes.txt").write_text("no image")
    return root


@pytest.fixture(scope="module")
def scanned(archive, detector_file, tmp_path_factory):
    """A folder with results of the archive."""
    from medscan import detector
    from medscan.scanning import scan

    out = tmp_path_factory.mktemp("scanned") / "results.h5"
    found = ((detector_file, detector.read(detector_file)),)
    scan(
        scan_options(
            roots=(archive,), out=out, detectors=found, named=True, device="cpu", workers=0
        )
    )
    return out.parent


@pytest.fixture
def verify(inside, scanned, archive, detector_file):
    for path in scanned.glob("results.h5*"):
        shutil.copy(path, Path.cwd())

    def run(*words, archive=archive):
        shown = ("--detector", detector_file, *(("--archive", archive) if archive else ()))
        return inside("verify", "results.h5", *shown, *words)

    return run


def test_results_that_are_right(verify, scanned):
    code, out, err = verify("--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["problems"] == []
    assert (told["studies"], told["stacks"], told["slices"], told["rescored"]) == (4, 4, 23, 4)
    assert told["score_difference"] == told["map_difference"] == told["distance_difference"] == 0
    before = {path.name for path in Path.cwd().iterdir()}
    code, out, _ = verify("--sample", 2)
    assert (code, "2 studies scored again: scores differ by at most 0" in out) == (0, True)
    assert {path.name for path in Path.cwd().iterdir()} == before
    assert (scanned / "results.h5").read_bytes() == Path("results.h5").read_bytes()


def test_the_sample_is_the_same_every_time(verify, scanned, monkeypatch):
    from medscan.inspect import verify as room

    seen = []
    real = room._compare
    monkeypatch.setattr(
        room, "_compare", lambda old, *rest: (seen.append(old.key), real(old, *rest))
    )
    verify("--sample", 2)
    verify("--sample", 2)
    assert seen[:2] == seen[2:]


def _change_score(group):
    group["score"][1] += np.float32(0.25)


def _nan_in_a_map(group):
    group["heatmap"][1, 0, 0] = np.nan


def _wrong_shape(group):
    data = group["frame"][:-1]
    del group["frame"]
    group["frame"] = data


def _wrong_type(group):
    data = group["position_mm"][:].astype(np.float32)
    del group["position_mm"]
    group["position_mm"] = data


def _odd_state(group):
    group["state"][0] = 9


def _points_nowhere(group):
    group["thumbnail_index"][0] = 99


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_change_score, "but its slices give"),
        (_nan_in_a_map, "heatmap is not finite"),
        (_wrong_shape, "frame is int32 (5,), not int32 (6,)"),
        (_wrong_type, "position_mm is float32 (6,), not float64 (6,)"),
        (_odd_state, "state holds an unknown value"),
        (_points_nowhere, "thumbnail_index points nowhere"),
    ],
)
def test_a_stack_that_is_not_whole(verify, harm, told):
    with edited("results.h5") as file:
        study = file["studies"][sorted(file["studies"])[0]]
        harm(next(item for item in study.values() if isinstance(item, h5py.Group)))
    code, out, err = verify(archive=None)
    assert (code, len(err.splitlines())) == (1, 1)
    assert told in out


def _shorter(data):
    return data[:-1]


def _text(data):
    return np.full(data.shape, "x", h5py.string_dtype())


def _scalar(data):
    return np.float32(0)


def _group(data):
    return None


@pytest.mark.parametrize("change", [_shorter, _text, _scalar, _group])
@pytest.mark.parametrize("name", [*ARRAYS, "thumbnail"])
def test_any_array_that_is_not_what_it_should_be(verify, archive, name, change):
    with edited("results.h5") as file:
        study = file["studies"][sorted(file["studies"])[0]]
        stack = next(item for item in study.values() if isinstance(item, h5py.Group))
        new = change(stack[name][()])
        if name in ("path", "sop_instance_uid") and change is _text:
            new = np.zeros(len(new))
        del stack[name]
        if new is None:
            stack.create_group(name)
        else:
            stack[name] = new
    code, out, err = verify("--sample", 0)
    assert (code, len(err.splitlines())) == (1, 1)
    assert out.startswith("study ")


def _no_attribute(file):
    del file.attrs["aggregation"]


def _no_study(file):
    name = sorted(file["studies"])[0]
    del file["studies"][name]
    file["studies"][name] = 1


def _nameless(file):
    study = file["studies"][sorted(file["studies"])[0]]
    stack = next(item for item in study.values() if isinstance(item, h5py.Group))
    stack.attrs["detector_hash"] = 7


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_no_attribute, "its root cannot be read ("),
        (_no_study, "cannot be read ("),
        (_nameless, "it does not say which detector scored it"),
    ],
)
def test_what_else_may_be_lost(verify, harm, told):
    with edited("results.h5") as file:
        harm(file)
    code, out, err = verify("--sample", 1)
    assert (code, len(err.splitlines())) == (1, 1)
    assert told in out


def _totals(file):
    file.attrs["files"] += 1


def _lost_row(file):
    for column in list(file["skipped"]):
        del file["skipped"][column]
        file["skipped"].create_dataset(column, (0,), h5py.string_dtype())


def _reason(file):
    file["failures"]["reason"][0] = "scanned"


def _flag(file):
    study = file["studies"][sorted(file["studies"])[0]]
    study.attrs["flagged"] = not study.attrs["flagged"]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_totals, "accounting: 21 files found, but 18 scanned, 1 skipped, 1 failed"),
        (_lost_row, "accounting: 1 files skipped, but 0 are listed"),
        (_reason, "accounting: 'scanned' is not a reason for failed files"),
        (_flag, "flagged does not agree with its stacks"),
    ],
)
def test_an_accounting_that_does_not_add_up(verify, harm, told):
    run = results.open("results.h5").run()
    assert run.counts == {"files": 20, "scanned": 18, "skipped": 1, "failed": 1}
    with edited("results.h5") as file:
        harm(file)
    code, out, _ = verify(archive=None)
    assert code == 1
    assert told in out


def test_pixels_that_changed_are_seen(verify, archive, tmp_path):
    shutil.copytree(archive, tmp_path / "changed")
    path = sorted((tmp_path / "changed" / "p0").iterdir())[3]
    data = bytearray(path.read_bytes())
    data[-1500:-500] = b"\x84\x03" * 500
    path.write_bytes(data)
    shutil.rmtree(tmp_path / "changed" / "p2")
    code, out, _ = verify(archive=tmp_path / "changed")
    assert code == 1
    assert "scores differ by up to" in out
    assert "its distance from the shots differs by" in out
    assert "is not in the archive" in out
    assert "3 studies scored again" in out


def test_an_archive_that_has_moved_is_the_same(verify, archive, tmp_path):
    shutil.copytree(archive, tmp_path / "moved")
    code, told, err = verify("--json", archive=tmp_path / "moved")
    assert (code, err) == (0, "")
    assert json.loads(told)["rescored"] == 4


def test_it_scores_as_the_scan_did_and_not_as_it_would_be_told(inside, archive, detector_file):
    words = ("--detector", detector_file, "--identify", "--plane", "axial", "--workers", 0)
    assert inside("scan", archive, "--out", "r.h5", *words)[0] == 3
    run = results.open("r.h5").run()
    assert (run.identify, run.hash_paths, run.plane, run.precision) == (
        True,
        False,
        "axial",
        "fp32",
    )
    code, out, _ = inside("verify", "r.h5", "--archive", archive, "--detector", detector_file)
    assert (code, "4 studies scored again: scores differ by at most 0" in out) == (0, True)


def test_a_stack_is_scored_by_the_detector_that_its_results_name(verify, monkeypatch):
    from medscan.planning import plan
    from medscan.routing import Route

    monkeypatch.setattr(plan, "route", lambda *_, **__: Route(None, ()))
    code, out, _ = verify()
    assert (code, "4 studies scored again: scores differ by at most 0" in out) == (0, True)


def test_absent_studies_are_counted_and_no_problem(verify, archive, tmp_path):
    shutil.copytree(archive, tmp_path / "less")
    shutil.rmtree(tmp_path / "less" / "p2")
    with edited("results.h5") as file:
        study = next(s for s in file["studies"].values() if s.attrs["StudyInstanceUID"] == "1.2.2")
        study.attrs["absent"] = "2026-01-02T03:04:05+00:00"
    code, out, err = verify(archive=tmp_path / "less")
    assert (code, err) == (0, "")
    assert "3 studies scored again" in out
    assert "1 studies are absent" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(verify, monkeypatch, number, code):
    from medscan.scanning import pipeline

    real, sent = pipeline.Pipeline._finish, []

    def finish(self, study):
        real(self, study)
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(pipeline.Pipeline, "_finish", finish)
    found, out, err = verify()
    assert (found, len(err.splitlines())) == (code, 1)
    assert "is not in the archive" not in out
    assert " 0 studies scored again" not in out


def test_a_detector_that_is_not_here(inside, verify, archive):
    code, out, _ = inside("verify", "results.h5", "--archive", archive, "--detector", "brain-flair")
    assert code == 1
    assert "is not here" in out
    assert "0 studies scored again" in out


def test_mistakes_are_one_line(inside, verify):
    for words in (
        ("nothing.h5",),
        ("results.h5", "--tolerance", "2"),
        ("results.h5", "--archive", "no"),
    ):
        code, out, err = inside("verify", *words)
        assert (code, out, len(err.splitlines())) == (2, "", 1), words


def test_hashed_paths_are_found_again(inside, verify, archive):
    volume = next(s for s in results.open("results.h5").studies() if not s.info["StudyInstanceUID"])
    hidden = volume.stacks[0].path[0]
    assert "Doe" not in hidden
    words = ("--archive", archive)
    for name in (hidden, volume.key):
        assert inside("locate", "results.h5", name, *words) == (
            0,
            f"{archive}/Doe/head.nii.gz\n",
            "",
        )
    folder = hidden.split("/")[0]
    assert inside("locate", "results.h5", folder, *words)[1] == f"{archive}/Doe\n"
    assert inside("locate", "results.h5", "Doe", *words)[1] == f"{archive}/Doe\n"
    assert inside("locate", "results.h5", "nothing", *words)[0] == 1
    Path("results.h5.key").unlink()
    code, _, err = inside("locate", "results.h5", folder, *words)
    assert (code, "key file" in err) == (2, True)


def test_sources_without_a_uid_are_found_again(inside, verify, archive):
    words = ("export", "results.h5", "--with-source", "--archive", archive, "--out", "maps")
    code, _, err = inside(*words)
    assert (code, err) == (0, "")
    (volume,) = (s for s in results.open("results.h5").studies() if not s.info["StudyInstanceUID"])
    assert len(list(Path("maps").glob(f"{volume.key}_*"))) == 2
