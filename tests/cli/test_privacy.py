"""No byte that any command writes, and no temporary one, tells who a patient is."""

import base64
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from medscan import results
from tests import tiny
from tests.cli import seeded


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return seeded.write_archive(tmp_path_factory.mktemp("seeded") / "root")


@pytest.fixture
def grave(tmp_path, monkeypatch):
    """A folder that keeps what this process removes or replaces; temporary files lie beside it."""
    for name in ("grave", "temp"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    folder, link = tmp_path / "grave", os.link

    def keep(path):
        name = os.path.abspath(os.fspath(path))  # noqa: PTH100
        if os.path.isfile(name) and not name.startswith(str(folder)):  # noqa: PTH113
            link(name, folder / f"{len(list(folder.iterdir()))}-{os.path.basename(name)}")  # noqa: PTH119

    def kept(real, which):
        def call(*paths, **options):
            keep(paths[which])
            return real(*paths, **options)

        return call

    for name, which in {"remove": 0, "unlink": 0, "replace": 1, "rename": 1}.items():
        monkeypatch.setattr(os, name, kept(getattr(os, name), which))
    return folder


@pytest.fixture
def run(inside, tmp_path):
    """Runs a command and keeps what it says."""

    def call(*words, codes=(0, 3)):
        code, out, err = inside(*words)
        assert code in codes, err
        with (tmp_path / "work" / "said.txt").open("a") as stream:
            stream.write(out + err)
        return out

    return call


def test_no_command_tells_who_the_patient_is(run, grave, archive, detector_file, tmp_path):
    scan = ("scan", archive, "--detector", detector_file, "--out", "night.h5")
    told = ("--log-file", "log.jsonl", "--accounting", "files.csv")
    run(*scan, "--dry-run", "--json", "--accounting", "dry.csv")
    run(*scan, *told, "--max-studies", 1, "--workers", 0)
    first = json.loads(run(*scan, *told, "--json"))
    assert first["files"]["failed"] >= 8
    assert first["files"]["scanned"] >= 6
    assert first["reasons"]["duplicate"] >= 1
    assert len(results.open("night.h5").keys()) >= 4
    run(*scan, *told, "--workers", 0, "--max-file-gib", "0.000001", "--rescan", "all")
    run(*scan, *told, "--workers", 0, "--rescan", "all")
    run("report", "night.h5", "--out", "again", "--archive", archive, "--slices", "--jsonl")
    run("report", "night.h5", "--out", "one", "--single-file")
    for target in ("nifti", "bids", "npz", "png", "csv"):
        run("export", "night.h5", "--to", target, "--out", target, "--archive", archive)
        assert list((tmp_path / "work" / target).iterdir()), target
    run("verify", "night.h5", "--archive", archive, "--detector", detector_file)
    _judge(tmp_path / "work" / "d.csv")
    run("report", "night.h5", "--decisions", "d.csv", "--out", "judged")
    learn = ("refit", detector_file, "d.csv", "--results", "night.h5")
    run(*learn, "--archive", archive, "--out", "child.safetensors", codes=(0,))
    run(*learn, "--archive", archive.parent / "root" / seeded.GIVEN, codes=(1,))
    run("verify", "night.h5", "--sample", 0, "--json", "--detector", detector_file)
    run("ledger", "show", "night.h5", codes=(0, 1))
    run("doctor", "--out", "night.h5", codes=(0, 1))
    for name in ("log.jsonl", "files.csv", "dry.csv", "night.h5.ledger", "said.txt"):
        assert (tmp_path / "work" / name).stat().st_size, name
    assert list((tmp_path / "work").glob("again*"))
    assert list(grave.iterdir())
    assert list((tmp_path / "temp").iterdir()) == []
    assert seeded.found_below(tmp_path) == {}


def _judge(path):
    """The worst slice of one study is abnormal, the other studies are normal."""
    found = [s for s in results.open("night.h5").ranked() if s.score == s.score]
    worst = max(found[0].stacks, key=lambda stack: stack.score)
    rows = [f"{found[0].key},abnormal,{worst.key},{worst.slice_score.argmax() + 1}"]
    rows += [f"{study.key},normal,," for study in found[1:]]
    path.write_text("\n".join(["study,verdict,stack,slice", *rows]))


def test_the_search_finds_what_was_asked_for(run, archive, detector_file, tmp_path):
    scan = ("scan", archive, "--detector", detector_file, "--out", "night.h5", "--identify")
    run(*scan, "--log-file", "log.jsonl", "--accounting", "files.csv", "--workers", 0)
    found = seeded.found_below(tmp_path)
    assert found["files.csv"] == set(seeded.SEEDS)
    for name in ("night.h5", "night.html", "night.csv", "night.h5.ledger"):
        assert {seeded.SURNAME, seeded.ID, seeded.ACCESSION} <= found[name], name
    study = _known()
    assert study.info["patient_id"] == seeded.ID
    assert study.info["accession_number"] == seeded.ACCESSION
    assert seeded.SURNAME in study.stacks[0].info["description"]


def test_paths_in_clear_without_the_rest(run, archive, detector_file, tmp_path):
    scan = ("scan", archive, "--detector", detector_file, "--out", "night.h5", "--workers", 0)
    run(*scan, "--no-hash-paths", "--accounting", "files.csv")
    assert seeded.SURNAME in (tmp_path / "work" / "files.csv").read_text()
    study = _known()
    series = max(study.stacks, key=lambda stack: len(stack.path))  # one copy is a stack of its own
    assert series.path[1].startswith(f"{seeded.TELLING}/")
    assert (
        not {"patient_id", "accession_number", "age", "sex", "description"}
        & study.info.keys()
        & study.stacks[0].info.keys()
    )
    keys = results.open("night.h5").keys()
    run(*scan, "--hash-paths")
    assert results.open("night.h5").keys() == keys
    assert not seeded.seen(str(_known().stacks[0].path).encode())


def _known():
    found = results.open("night.h5").studies()
    return next(s for s in found if s.info["StudyInstanceUID"] == "1.2.77.1")


def test_a_patient_is_one_under_one_key_and_another_under_another(
    run, archive, detector_file, tmp_path
):
    patients, keys = {}, {}
    small = tmp_path / "small"
    shutil.copytree(next(archive.rglob("odd")), small)
    for out, key in (("a", "one"), ("b", "one"), ("c", "two")):
        words = ("--out", f"{out}.h5", "--key-file", f"{key}.key", "--workers", 0)
        run("scan", small, "--detector", detector_file, *words)
        (study,) = results.open(f"{out}.h5").studies()
        patients[out], keys[out] = study.info["patient"], study.key
    assert patients["a"] == patients["b"] != patients["c"]
    assert keys["a"] == keys["c"]
    assert (tmp_path / "work" / "one.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "form",
    [
        seeded.ID.encode(),
        seeded.SURNAME.upper().encode("utf-16-be"),
        seeded.GIVEN.lower().encode().hex().encode(),
        base64.b64encode(b"x" + seeded.ID.encode() + b"yyy"),
        base64.b64encode(b"xx" + seeded.ACCESSION.encode() + b"yyy"),
    ],
)
def test_the_search_knows_every_form(tmp_path, form):
    (tmp_path / "a").write_bytes(b"x" + form + b"y")
    assert len(seeded.found_below(tmp_path)["a"]) == 1


def test_pixels_that_may_name_the_patient_are_kept_only_when_asked_for(
    run, detector_file, tmp_path
):
    tiny.write_series(tmp_path / "us", tiny.head_volume(1, 3), BurnedInAnnotation="YES")
    tiny.write_series(tmp_path / "us" / "b", tiny.head_volume(2, 3))
    scan = ("scan", tmp_path / "us", "--detector", detector_file, "--out", "r.h5", "--workers", 0)

    def kept():
        stacks = [stack for study in results.open("r.h5").studies() for stack in study.stacks]
        return sorted(len(stack.thumbnail) for stack in stacks)

    run(*scan)
    assert kept() == [0, 3]
    run(*scan, "--burned-in")
    assert kept() == [3, 3]
    run(*scan, "--no-thumbnails")
    assert kept() == [0, 0]


def test_outputs_that_name_patients_are_for_their_owner_only(inside, tmp_path, detector_file):
    tiny.write_series(tmp_path / "archive", tiny.head_volume(1, 3))
    before = os.umask(0o022)
    try:
        words = ("scan", tmp_path / "archive", "--detector", detector_file)
        assert inside(*words, "--identify", "--out", "named.h5", "--accounting", "n.csv")[0] == 0
        assert inside(*words, "--out", "plain.h5")[0] == 0
        assert inside("report", "named.h5")[0] == 0
        named = [Path(f"named{suffix}") for suffix in (".h5", ".csv", ".html")]
        named += [Path("n.csv"), Path("named.report/index.html"), Path("named.report/results.csv")]
        assert {path.stat().st_mode & 0o777 for path in named} == {0o600}
        assert Path("plain.csv").stat().st_mode & 0o777 == 0o644
        Path("plain.csv").chmod(0o640)
        assert inside(*words, "--out", "plain.h5", "--rescan", "all")[0] == 0
        assert Path("plain.csv").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)
