"""`medscan accept` as a user runs it."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medscan import detector, donors, results
from medscan.acceptance import AcceptOptions
from medscan.acceptance import accept as run_accept
from medscan.archive import key_of
from medscan.bags import StudyOptions
from medscan.options import Compute
from tests import tiny
from tests.bags.conftest import uid, write_labels, write_study

ROWS = "".join(f"{uid(n)},{'abnormal' if n > 2 else 'normal'}\n" for n in range(1, 5))

HEAD = "StudyInstanceUID,label"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    for number in range(1, 6):
        write_study(
            root,
            number,
            lesion=number > 2,
            Manufacturer="ACME <b>",
            ManufacturerModelName=f"model {number % 2}",
            PatientSex="F",
            PatientAge="041Y",
        )
    return root


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, site, detector_file):
    """A folder in which the labelled studies are scanned already."""
    work = tmp_path_factory.mktemp("scanned")
    studies = StudyOptions([site], write_labels(work / "labels.csv", ROWS, HEAD))
    compute = Compute("cpu", workers=0)
    run_accept(AcceptOptions(detector_file, studies, work / "test", compute=compute))
    return work / "test"


@pytest.fixture
def accept(inside, site, detector_file, scanned):
    for folder in ("test", "tiny-flair.acceptance"):
        shutil.copytree(scanned, folder)

    def run(*words, rows=ROWS, head=HEAD, file=detector_file):
        write_labels(Path("labels.csv"), rows, head)
        own = ("--archive", site, "--labels", "labels.csv", "--device", "cpu", "--workers", 0)
        return inside("accept", file, *own, *words)

    return run


def test_too_few_studies_are_a_refusal_that_says_how_many_would_do(accept, site):
    code, out, err = accept("--prevalence", 0.1, "--who", "Dr. <i>", "--out", "test")
    assert code == 4, err
    assert out.startswith("tiny-flair: not accepted: ")
    found = json.loads(Path("test/acceptance.json").read_text())
    assert found["figures"]["abnormals"] == found["figures"]["normals"] == 2
    assert found["figures"]["prevalence"] == 0.1
    assert found["who"] == "Dr. <i>"
    assert {one["key"] for one in found["studies"]} == set(keys_in("test"))
    assert len(found["studies"]) == 4  # the fifth has no label, and is not scanned
    page = Path("test/index.html").read_text()
    assert "Content-Security-Policy" in page
    assert "ACME &lt;b&gt;" in page
    assert "<b>ACME" not in page
    assert "Dr. &lt;i&gt;" in page
    assert "P1" not in page
    assert str(site) not in page
    # Again: nothing is scanned twice, and what is measured is the same.
    code, out, _ = accept("--prevalence", 0.1, "--out", "test", "--json")
    again = json.loads(out)
    assert code == 4
    assert again["studies"] == found["studies"]
    assert again["figures"] == found["figures"]


def keys_in(folder):
    return results.open(Path(folder) / "results.h5").keys()


def test_each_goal_is_judged_by_itself(accept, monkeypatch):
    goals = ("--min-sensitivity", 0.01, "--min-specificity", 0.01, "--confidence", 0.5)
    monkeypatch.setattr("medscan.results.StackResult.flagged", property(lambda s: s.score > 0))
    monkeypatch.setattr("medscan.results.StackResult.unlike", property(lambda s: ["voxels"]))
    code, out, err = accept(*goals)
    assert (code, err.count("not known here")) == (4, 0)
    assert "4 of 4 studies are unlike what the detector was fitted on" in out
    assert "specificity 0 of 2 (0.0 %)" in out
    assert "sensitivity 2 of 2 (100.0 %): at least 70.7 %, and 1.0 % is asked for: shown." in out
    assert "4 of 4 labelled studies unlike" in Path("tiny-flair.acceptance/index.html").read_text()
    found = json.loads(Path("tiny-flair.acceptance/acceptance.json").read_text())
    assert [one["unlike"] for one in found["studies"]] == [True] * 4
    assert found["figures"]["unlike_rate"]["value"] == 1


def test_only_the_split_test_counts_where_there_is_one(accept):
    rows = "".join(
        f"{line},{'test' if n % 2 else 'train'}\n" for n, line in enumerate(ROWS.split())
    )
    code, _, _ = accept("--out", "test", rows=rows, head="StudyInstanceUID,label,split")
    assert code == 4
    assert len(json.loads(Path("test/acceptance.json").read_text())["studies"]) == 2


def test_volumes_are_found_by_their_paths(inside, detector_file, tmp_path):
    """A scan names them by a hash of the path, under a key of its own."""
    for number in (1, 2):
        tiny.write_nifti(tmp_path / "a" / f"v{number}.nii.gz", tiny.head_volume(number, slices=3))
    write_labels(Path("l.csv"), "v1.nii.gz,normal\nv2.nii.gz,abnormal\n", "path,label")
    own = ("--archive", tmp_path / "a", "--labels", "l.csv", "--device", "cpu", "--workers", 0)
    for _ in range(2):
        code, _, err = inside("accept", detector_file, *own, "--out", "test")
        assert code == 4, err
        assert [one["asked"] for one in read("test")["studies"]] == [True, True]


def test_a_patient_whom_it_was_fitted_on_is_refused(accept, detector_file, tmp_path):
    copy = tmp_path / "known.safetensors"
    copy.write_bytes(detector_file.read_bytes())
    fitted = detector.read(copy)
    donors.write(copy, fitted.digest, donors.digests(["id:P3"], fitted.fingerprints))
    code, _, err = accept(file=copy)
    assert code == 2
    assert "1 studies are of patients whom known was fitted on (lines 4)" in err
    assert not Path("known.acceptance").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--prevalence", 1), "--prevalence 1: a number between 0 and 1"),
        (("--min-sensitivity", 0), "--min-sensitivity 0: a number between 0 and 1"),
        (("--who", "a\nb"), "--who: a name of at most 200 printable characters"),
        (("--out", "labels.csv"), "--out labels.csv: it is not a folder"),
    ],
)
def test_mistakes_are_one_line(accept, words, why):
    code, out, err = accept(*words)
    assert (code, out, err) == (2, "", f"medscan: {why}\n")


def test_three_answers_are_kept_in_the_detector_and_shown_to_a_person(
    accept, inside, site, detector_file
):
    """Labels after scores, so that there is something in between."""
    code, _, err = accept("--out", "test")
    assert code == 4, err
    scores = {one["key"]: one["score"] for one in read("test")["studies"]}
    high = sorted(scores, key=scores.get)
    uids = {study_key(number): uid(number) for number in range(1, 5)}
    words = dict(zip(high, ("normal", "abnormal", "normal", "abnormal"), strict=True))
    rows = "".join(f"{uids[key]},{word}\n" for key, word in words.items())
    goals = ("--min-sensitivity", 0.1, "--min-specificity", 0.1, "--confidence", 0.5)
    asked = ("--choose", "answers=0.4", "--prevalence", 0.5, "--write", "own.safetensors")
    code, out, err = accept(*goals, *asked, "--who", "me", "--out", "test", rows=rows)
    assert code == 0, err
    assert "chosen for answers 40.0 % on 2 abnormal and 2 normal patients" in out
    own = detector.read(Path("own.safetensors")).calibration
    assert own.accepted.who == "me"
    assert own.accepted.detector == detector.read(detector_file).digest
    assert own.accepted.uncertain_from == scores[high[1]]
    assert scores[high[2]] < own.accepted.threshold < scores[high[3]]
    assert own.at_rate(0.1).accepted is None
    before, after = (load_file(path) for path in (detector_file, "own.safetensors"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # A scan with it: one flagged, two uncertain, and these are not at the end of the list.
    done = ("--detector", "own.safetensors", "--out", "night.h5", "--device", "cpu")
    code, out, err = inside("scan", site, *done, "--workers", 0)
    assert code == 0, err
    assert "1 flagged, 2 uncertain, " in out
    table = list(csv.DictReader(Path("night.csv").read_text().splitlines()))
    labelled = [row for row in table if row["study"] in scores]
    flags = [(row["flagged"], row["uncertain"]) for row in labelled]
    assert flags == [("1", "0"), ("0", "1"), ("0", "1"), ("0", "0")]
    page = Path("night.html").read_text()
    assert 'data-flag="uncertain"' in page
    assert "chosen by an acceptance test on 20" in page


def test_too_few_events_choose_nothing_and_write_nothing(accept):
    asked = ("--choose", "answers=0.05", "--write", "own.safetensors")
    code, out, _ = accept(*asked)
    assert code == 4
    assert "needs 59 studies of different patients" in out
    assert not Path("own.safetensors").exists()
    code, _, err = accept("--write", "own.safetensors")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = accept("--choose", "rate=5")
    assert (code, err.count("\n")) == (2, 1)


def read(folder):
    return json.loads((Path(folder) / "acceptance.json").read_text())


def study_key(number):
    return key_of(uid(number))
