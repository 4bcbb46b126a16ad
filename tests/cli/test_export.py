"""`medscan export`, and the key file that it and `medscan report` find files by."""

import pytest

from medscan.archive import Pseudonyms, index
from medscan.choices import ExportFormat
from medscan.planning.keyfile import fingerprint_of, key_beside
from tests import tiny
from tests.report import make
from tests.report.archived import result_of

KEY = b"k" * 32


@pytest.fixture
def volume(tmp_path):
    """Results of a volume, named by a key that lies in another place than beside them."""
    root = tmp_path / "archive"
    root.mkdir()
    tiny.write_nifti(root / "v.nii", tiny.head_volume(1))
    (study,) = index([root], pseudonyms=Pseudonyms(KEY)).studies
    (series,) = study.series
    (stack,) = series.stacks
    info = make.run(key_fingerprint=fingerprint_of(KEY))
    studies = [make.study(study.key, [result_of(series, stack)])]
    results = make.results(tmp_path, studies, info, name="night.h5")
    (tmp_path / "right.key").write_text(KEY.hex())
    (tmp_path / "wrong.key").write_text("00" * 32)
    return results.path


EXPORT = ("export", "night.h5", "--with-source", "--archive", "archive")
REPORT = ("report", "night.h5", "--archive", "archive")


def test_the_key_file_finds_volumes(medscan, volume, tmp_path):
    done = medscan(*EXPORT, "--key-file", "right.key")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 files written to export; sources are written as they are, with any text" in (
        done.stdout
    )
    done = medscan(*REPORT, "--key-file", "right.key")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "night.report" / "studies").glob("*/*-*.jpg"))) > 3


@pytest.mark.parametrize("words", [EXPORT, REPORT])
def test_a_key_that_does_not_fit_is_said(medscan, volume, words):
    done = medscan(*words)
    assert "key file night.h5.key is missing" in done.stderr.splitlines()[0]
    assert "without it only DICOM files are found" in done.stderr.splitlines()[0]
    key_beside(volume).write_text("00" * 32)
    done = medscan(*words)
    assert "night.h5.key is not the key file that night.h5 was made with" in done.stderr
    done = medscan(*words, "--key-file", "wrong.key")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "wrong.key is not the key file that night.h5 was made with" in done.stderr


def test_an_archive_that_is_missing_is_said_first(medscan):
    done = medscan("export", "nothing", "--to", "onnx", "--archive", "missing")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--archive missing does not exist" in done.stderr


@pytest.fixture
def shards(tmp_path):
    """Two results files, of which both hold study bbb."""
    few = make.few_studies()
    make.results(tmp_path, few[:2], make.run(created="2026-01-02"), "one.h5")
    make.results(tmp_path, few[1:], make.run(created="2026-01-03"), "two.h5")
    return "export", "one.h5", "two.h5", "--to", "npz"


def test_several_results_are_exported_as_one(medscan, shards, tmp_path):
    done = medscan(*shards)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "4 files written to export\n"
    names = sorted(path.stem for path in (tmp_path / "export").iterdir())
    assert names == ["aaa", "bbb", "ccc", "ddd"]


def test_some_studies_are_exported(medscan, shards, tmp_path):
    done = medscan(*shards, "--study", "ccc", "--study", "aaa", "--out", "some")
    assert (done.returncode, done.stdout) == (0, "2 files written to some\n")
    done = medscan(*shards, "--flagged", "--out", "flagged")
    assert (done.returncode, done.stdout) == (0, "2 files written to flagged\n")
    assert sorted(path.stem for path in (tmp_path / "flagged").iterdir()) == ["aaa", "bbb"]


def test_studies_that_are_not_there_are_said(medscan, shards, tmp_path):
    done = medscan(*shards, "--study", "nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "medscan: --study nope: no such study in one.h5, two.h5\n"
    done = medscan(*shards, "--study", "ccc", "--flagged")
    assert (done.returncode, done.stdout) == (0, "nothing to write: no study is flagged\n")
    assert not (tmp_path / "export").exists()
    done = medscan("export", "brain-flair", "--to", "onnx", "--flagged")
    assert (done.returncode, done.stdout) == (2, "")
    assert "one detector, and no studies" in done.stderr


@pytest.mark.parametrize("name", [f.value for f in ExportFormat if f is not ExportFormat.NIFTI])
def test_sources_are_asked_for_with_nifti_only(inside, volume, name):
    for more in ((), ("--archive", volume.parent)):
        code, out, err = inside("export", volume, "--to", name, "--with-source", *more)
        assert (code, out) == (2, "")
        assert f"--with-source: only --to nifti writes sources, not --to {name}" in err
