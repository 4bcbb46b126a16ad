"""A study is found by any name that its results or a PACS give it, over several results files."""

import pytest

from medscan import results
from tests import tiny

PATIENT = "Doe, Jane"


@pytest.fixture
def archive(tmp_path):
    """Two studies of one patient, and one of another; each has two slices."""
    for name, study, patient in (("x", "1.2.77.1", "P1"), ("y", "1.2.77.2", "P1"), ("z", "", "P2")):
        folder = tmp_path / "archive" / PATIENT / name
        number = f"A-{name}"
        tiny.write_series(
            folder, tiny.head_volume(1, 2), study=study, PatientID=patient, AccessionNumber=number
        )
    return tmp_path / "archive" / PATIENT


@pytest.fixture
def scan(inside, archive, detector_file):
    def run(*folders, out, words=()):
        roots = [archive / folder for folder in folders]
        scan = ("scan", *roots, "--detector", detector_file, "--out", out, "--workers", 0)
        code, _, err = inside(*scan, *words)
        assert code == 0, err
        return results.open(out)

    return run


@pytest.fixture
def located(inside, archive):
    """What `locate` prints, below the archive, and its status."""

    def run(*words):
        roots = [word for name in "xyz" for word in ("--archive", archive / name)]
        code, out, err = inside("locate", *words, *roots)
        return [line.removeprefix(f"{archive}/") for line in out.splitlines()], code, err

    return run


def files(*folders):
    return [f"{folder}/000{number}" for folder in folders for number in (0, 1)]


def test_every_name_of_a_study_finds_its_files(scan, located):
    found = {s.info["StudyInstanceUID"]: s for s in scan("x", "y", out="one.h5").studies()}
    study = found["1.2.77.1"]
    stack = study.stacks[0]
    for name in ("1.2.77.1", study.key, stack.info["SeriesInstanceUID"]):
        assert located("one.h5", name) == (files("x"), 0, ""), name
    assert located("one.h5", stack.sop_instance_uid[1]) == (["x/0001"], 0, "")
    assert located("one.h5", study.info["patient"]) == (files("x", "y"), 0, "")
    assert located("one.h5", "1.2.77.2", "1.2.77.1")[0] == files("x", "y")
    for unknown in ("A-x", "P1", "1.2.77", ""):  # identities were not kept
        lines, code, err = located("one.h5", unknown)
        assert (lines, code, len(err.splitlines())) == ([], 1, 1), unknown
        assert "no study or patient has that name" in err


def test_identified_results_know_the_accession_number(scan, located):
    scan("x", "y", out="one.h5", words=("--identify",))
    assert located("one.h5", "A-y") == (files("y"), 0, "")
    assert located("one.h5", "P1") == (files("x", "y"), 0, "")


def test_several_results_with_keys_of_their_own_are_one(scan, located):
    one, two = scan("x", out="one.h5"), scan("y", "z", out="two.h5")
    assert one.key_fingerprint() != two.key_fingerprint()
    assert located("one.h5", "two.h5", "1.2.77.2") == (files("y"), 0, "")
    hidden = [file.study(file.keys()[0]).stacks[0].path[0] for file in (one, two)]
    lines, code, _ = located("one.h5", "two.h5", *hidden)
    assert (sorted(lines), code) == (["x/0000", "y/0000", "z/0000"], 0), "one name in each folder"
    patients = {study.info["patient"] for study in two.studies()}
    assert located("two.h5", "one.h5", *patients) == (files("y", "z"), 0, "")


def test_an_archive_that_moved_is_searched_all_the_same(scan, located, archive):
    scan("x", out="one.h5")
    (archive / "x").rename(archive / "w")
    (archive / "x").mkdir()
    (archive / "y").rename(archive / "y-away")
    (archive / "w").rename(archive / "y")
    assert located("one.h5", "1.2.77.1")[:2] == ([], 1), "the folder that was scanned is there"
    (archive / "x").rmdir()
    (archive / "x").symlink_to(archive / "z")
    lines, code, _ = located("one.h5", "1.2.77.1")
    assert (sorted(lines), code) == (files("y", "z"), 0)


def test_a_study_whose_files_are_gone_is_not_called_unknown(scan, located, archive):
    scan("x", out="one.h5")
    for path in (archive / "x").iterdir():
        path.rename(path.with_name(f"{path.name}.moved"))
    lines, code, err = located("one.h5", "1.2.77.1")
    assert (lines, code, len(err.splitlines())) == ([], 1, 1)
    assert "1.2.77.1: it has no file in the archive named" in err
    lines, code, err = located("one.h5", "one.h5")
    assert (lines, code, len(err.splitlines())) == ([], 2, 1)
    assert "name what to find after the results files" in err
