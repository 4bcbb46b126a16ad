"""Verdicts on a night's results become shots of a new detector, as a user does it."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from medscan import detector, results
from tests import tiny
from tests.edited import edited

SLICES, LESION = 6, 5
"""Of each series, and the number of the one with a lesion."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Six studies of six patients, and a volume."""
    root = tmp_path_factory.mktemp("judged") / "root"
    for n in range(6):
        volume = tiny.head_volume(n, SLICES)
        tiny.write_series(root / f"s{n}", volume, study=f"1.2.5.{n}", PatientID=f"P{n}")
    tiny.write_nifti(root / "t" / "head.nii.gz", tiny.head_volume(9, SLICES))
    return root


@pytest.fixture(scope="module")
def night(tmp_path_factory, archive, detector_file):
    """What a scan of it wrote."""
    from medscan.options import Compute, Inputs, Outputs, ScanOptions
    from medscan.scanning import scan

    out = tmp_path_factory.mktemp("night") / "night.h5"
    inputs = Inputs((archive,), ((detector_file, detector.read(detector_file)),), named=True)
    scan(ScanOptions(inputs, Outputs(out), Compute(workers=0)))
    return out


@pytest.fixture
def keys(night):
    """Keys of the studies by UID; the volume has none."""
    return {s.info["StudyInstanceUID"]: s.key for s in results.open(night).studies()}


@pytest.fixture
def judged(tmp_path, keys):
    """Writes verdicts, `{UID: "verdict[,slice]"}`, and says where."""

    def write(words, name="d.csv"):
        rows = [f"{keys.get(uid, uid)},{word}" for uid, word in words.items()]
        (tmp_path / name).write_text("\n".join(["study,verdict,slice", *rows, ""]))
        return tmp_path / name

    return write


@pytest.fixture
def refit(inside, night, archive):
    """Runs `medscan refit`."""

    def run(parent, verdicts, *words, data=(), out="child.safetensors"):
        options = ("--results", night, "--archive", archive, "--folds", 2, "--out", out)
        data = ("--data", data) if data else ()
        return inside("refit", parent, verdicts, *options, *words, *data)

    return run


WORDS = {f"1.2.5.{n}": "normal" for n in range(3)} | {
    "1.2.5.3": f"abnormal,{LESION}",
    "1.2.5.4": f"abnormal,{LESION}",
    "1.2.5.5": "unsure",
}


def test_verdicts_make_a_detector_that_scores_otherwise_and_says_where_it_is_from(
    refit, inside, judged, night, archive, detector_file, pictures, keys
):
    code, out, err = refit(detector_file, judged(WORDS), data=pictures)
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("medscan: this will take about ")
    assert "2 abnormal; shots of tiny-flair kept: 12\n" in out
    parent, child = detector.read(detector_file), detector.read(Path("child.safetensors"))
    for name in ("method", "settings", "organ", "domain", "window", "seed", "backbone_digest"):
        assert getattr(child, name) == getattr(parent, name), name
    assert child.shots["abnormal"] == [
        *parent.shots["abnormal"],
        *sorted(f"results:{keys[f'1.2.5.{n}']}/{stack(night, keys, n)}#{LESION}" for n in (3, 4)),
    ]
    (ancestor,) = child.lineage
    added = len(child.shots["normal"]) + len(child.shots["abnormal"]) - 12
    assert (ancestor.name, ancestor.digest, ancestor.verdicts) == ("tiny-flair", parent.digest, 6)
    assert (ancestor.kept, ancestor.added) == (12, added)
    assert ancestor.results == (results.open(night).run().created,)
    scan = ("scan", archive, "--detector", "child.safetensors", "--out", "next.h5")
    assert inside(*scan, "--workers", 0)[0] == 0
    old, new = results.open(night), results.open("next.h5")
    assert new.run().detectors[0]["lineage"][0]["digest"] == parent.digest
    assert all(old.study(key).score != new.study(key).score for uid, key in keys.items() if uid)
    assert inside("report", "next.h5")[0] == 0
    page = Path("next.report", "studies", f"{keys['1.2.5.0']}.html").read_text()
    assert f'<bdi>tiny-flair</bdi> <span class="uid">{parent.digest[:12]}</span> by 6 ver' in page


def stack(night, keys, n):
    return results.open(night).study(keys[f"1.2.5.{n}"]).stacks[0].key


def test_without_the_parents_data_the_verdicts_stand_alone(refit, judged, detector_file):
    code, out, err = refit(detector_file, judged(WORDS))
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("medscan: this will take about ")
    assert "shots of tiny-flair kept: 0, not there: 12" in out
    child = detector.read(Path("child.safetensors"))
    assert 3 <= len(child.shots["normal"]) <= 6
    assert len(child.calibration.normals) == 3, "one slice of each normal study, drawn"
    assert child.lineage[0].kept == 0


def test_what_earlier_verdicts_made_is_found_again_in_the_results(
    refit, inside, judged, detector_file, pictures, keys, night, monkeypatch
):
    assert refit(detector_file, judged(WORDS), data=pictures)[0] == 0
    again = judged({"1.2.5.5": "normal", "1.2.5.4": "normal"}, "e.csv")
    code, _, err = refit("child.safetensors", again, data=pictures, out="grand.safetensors")
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("medscan: this will take about ")
    child, grand = (detector.read(Path(f"{name}.safetensors")) for name in ("child", "grand"))
    assert [a.name for a in grand.lineage] == ["tiny-flair", "child"]
    assert grand.lineage[0] == child.lineage[0]
    assert grand.lineage[1].digest == child.digest
    kept = set(child.shots["abnormal"]) & set(grand.shots["abnormal"])
    assert len(kept) == 7, "the study that is judged anew is known by the new verdict"
    assert set(child.shots["normal"]) < set(grand.shots["normal"])
    assert grand.lineage[1].kept == sum(map(len, child.shots.values())) - 1
    Path("detectors").mkdir()
    shutil.copy("grand.safetensors", "detectors")
    monkeypatch.setenv("MEDSCAN_WEIGHTS", str(Path.cwd()))
    parents = f"child {child.digest[:12]} by 2 verdicts, made from tiny-flair "
    assert f"made from {parents}" in inside("weights", "list")[1]
    told = f"results:{keys['1.2.5.4']}/{stack(night, keys, 4)}"
    assert any(name.startswith(told) for name in grand.shots["normal"])


def test_an_abnormal_study_without_a_slice_counts_where_it_was_flagged(
    refit, judged, night, detector_file, keys
):
    words = {"1.2.5.0": "normal", "1.2.5.1": "normal", "1.2.5.2": "abnormal"}
    for threshold, hint in ((1e9, "without a slice named"), (-1e9, "1 abnormal; shots")):
        _set_threshold(night, threshold)
        code, out, err = refit(detector_file, judged(words | {"1.2.5.3": f"abnormal,{LESION}"}))
        assert (code, err.count("\n")) == (0, 1), err
        assert err.startswith("medscan: this will take about ")
        assert hint in out.replace("2 abnormal; ", "1 abnormal; ")
        found = detector.read(Path("child.safetensors")).shots["abnormal"]
        assert len(found) == 1 + (threshold < 0)
    study = results.open(night).study(keys["1.2.5.2"]).stacks[0]
    worst = int(np.nanargmax(study.slice_score)) + 1
    assert any(name.endswith(f"{study.key}#{worst}") for name in found)


def _set_threshold(path, value):
    with edited(path) as file:
        for study in file["studies"].values():
            for one in (g for g in study.values() if isinstance(g, h5py.Group)):
                one.attrs["threshold"] = value


def test_mistakes_are_a_line_and_leave_no_detector(
    refit, inside, judged, night, archive, detector_file, pictures, tmp_path, backbone
):
    good = judged(WORDS)
    other = tmp_path / "other.key"
    other.write_text("ab" * 32)
    normals = judged({f"1.2.5.{n}": "normal" for n in range(3)}, "normals.csv")
    stranger = judged({"1.2.9": "normal"}, "stranger.csv")
    split = judged({"1.2.5.1": f"abnormal,{LESION}\n1.2.5.1,normal,"}, "split.csv")
    few = tmp_path / "few"
    shutil.copytree(pictures, few)
    name = detector.read(detector_file).shots["normal"][0]
    tiny.remove(few, Path(name).stem)
    moved = tmp_path / "moved"
    shutil.copytree(pictures, moved)
    (moved / name).write_bytes((moved / name).read_bytes() + b"!")
    read = detector.read(detector_file)
    method = read.load_method(detector_file, backbone)
    replace(read, backbone_digest="0" * 64).save(tmp_path / "elsewhere", method)
    for words, hint in (
        ((tmp_path / "elsewhere", good), "fit it again or bring that backbone"),
        ((detector_file, stranger), "row 2: the results have no study '1.2.9'"),
        ((detector_file, split), "contradicts row"),
        ((detector_file, normals), "there is no abnormal slice for method mvfa"),
        ((detector_file, good, "--key-file", other), "is not the key file"),
        ((detector_file, good, "--folds", 1), "--folds 1: choose 2 or more"),
        ((detector_file, good, "--data", few), "lack 1 shots of tiny-flair, such as normal/"),
        ((detector_file, good, "--data", moved), "its file has changed"),
        (("chest-xray", good), "no verdict gives chest-xray a slice to learn from: 6 studies"),
    ):
        code, out, err = refit(*words)
        assert (code, out) == (2, ""), err
        assert hint in err
        assert len(err.splitlines()) == 1
    code, _, err = refit(detector_file, good, out=detector_file)
    assert (code, detector.read(detector_file).digest) == (2, read.digest)
    assert "that file is read; name another one to write" in err
    shutil.copy(night, tmp_path / "other.h5")
    with edited(tmp_path / "other.h5") as file:
        file.attrs["key_fingerprint"] = ""
    code, _, err = refit(detector_file, good, "--results", tmp_path / "other.h5")
    assert code == 2
    assert "made with different key files" in err
    for words, hint in (
        ((detector_file, good, "--archive", archive), "--results"),
        ((detector_file, good, "--results", night), "--archive"),
        ((detector_file, "--results", night, "--archive", archive), "decisions"),
    ):
        code, _, err = inside("refit", *words)
        assert code == 2
        assert hint in err
    code, _, err = refit(detector_file, good, "--method", "mvfa")
    assert (code, "--method" in err) == (2, True)
    code, _, err = inside("fit", pictures, "--results", night)
    assert (code, "--results" in err) == (2, True)
    assert not list(tmp_path.rglob("child*"))


def test_sources_that_are_gone_or_have_changed(
    refit, judged, archive, detector_file, tmp_path, inside, night
):
    gone = tmp_path / "gone"
    shutil.copytree(archive, gone)
    (gone / "s1" / "0002").unlink()
    options = ("--results", night, "--archive", gone, "--out", "child.safetensors")
    words = ("refit", detector_file, judged(WORDS), *options)
    code, _, err = inside(*words)
    assert code == 1
    assert "is not in the archive named" in err
    shutil.copy(archive / "s1" / "0002", gone / "s1" / "0002")
    _repaint(gone / "s1")
    code, _, err = inside(*words)
    assert code == 1
    assert "has changed since it was scanned" in err
    assert not list(tmp_path.rglob("child*"))


def _repaint(folder):
    """Other pixels under the same UIDs."""
    import pydicom

    for number, path in enumerate(sorted(folder.iterdir())):
        data = pydicom.dcmread(path)
        other = np.ascontiguousarray(tiny.head_volume(77, SLICES)[::-1, ::2][:, [number]])
        data.PixelData = np.resize(other, (data.Rows, data.Columns)).astype("<i2").tobytes()
        data.save_as(path)
