"""A night in which nothing has changed costs a walk, and says what the last one said."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from medscan import report
from medscan.choices import Rescan
from medscan.planning.ledger import Ledger
from medscan.scanning import run as module
from medscan.scanning import scan
from tests import tiny
from tests.options import changed


@pytest.fixture
def two(root):
    for name in "ab":
        volume = tiny.head_volume(ord(name), slices=2)
        tiny.write_series(root / name, volume, study=f"1.{ord(name)}")
    (root / "notes.txt").write_text("no image")
    return root


@pytest.fixture
def looks(monkeypatch):
    """How often an archive was indexed."""
    calls, real = [], module.survey_archive

    def counted(*args, **named):
        calls.append(args)
        return real(*args, **named)

    monkeypatch.setattr(module, "survey_archive", counted)
    return calls


def line(summary):
    return replace(summary, seconds=0.0).line()


def test_the_second_night_only_walks(options, two, looks):
    scan(options)
    known = options.outputs.ledger_path
    again = scan(options)
    assert len(looks) == 1
    assert (again.studies, again.unchanged, again.scanned) == (2, 2, 0)
    assert again.files == {"scanned": 4, "skipped": 1, "failed": 0}
    known.unlink()
    whole = scan(options)
    assert len(looks) == 2
    assert line(again) == line(whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda root, options: (root / "new.txt").write_text("new"),
        lambda root, options: os.utime(root / "a" / "0000"),
        lambda root, options: (root / "a" / "0000").unlink(),
        lambda root, options: (root / "b").rename(root / "c"),
        lambda root, options: os.utime(options.outputs.out),
        lambda root, options: options.outputs.out.unlink(),
        lambda root, options: options.outputs.ledger_path.unlink(),
    ],
)
def test_whatever_changes_is_looked_at(options, two, looks, change):
    scan(options)
    change(two, options)
    scan(options)
    assert len(looks) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"precision": "bf16"},
        {"rescan": Rescan.STALE},
        {"paranoid": True},
        {"prune_s": 0.0},
        {"named": False},
        {"max_file_bytes": 1 << 20},
        {"max_file_planes": 1000},
    ],
)
def test_whatever_is_asked_for_is_looked_at(options, two, looks, other):
    scan(options)
    scan(changed(options, **other))
    assert len(looks) == 2


def test_an_accounting_has_all_files_every_night(options, two, looks, tmp_path):
    asked = changed(options, accounting=tmp_path / "files.csv")
    for _ in range(2):
        report.write_accounting(scan(asked).entries, asked.outputs.accounting)
        assert len(asked.outputs.accounting.read_text().splitlines()) == 6


def test_what_was_left_or_may_pass_is_looked_at_again(options, two, looks):
    assert scan(changed(options, max_studies=1)).left == 1
    assert scan(options).scanned == 1
    assert scan(options).scanned == 0
    assert len(looks) == 2
    ledger = Ledger(options.outputs.ledger_path)
    key = ledger.below(ledger._all("SELECT root FROM work")[0][0])[0]
    assert ledger.forget(key)
    ledger.close()
    assert scan(options).scanned == 1


def test_results_in_the_archive_do_not_change_it(options, two, looks):
    inside = changed(options, out=two / "results.h5", key_file=two / "key.txt")
    for _ in range(2):
        assert scan(inside).files["scanned"] == 4
    assert len(looks) == 1


def test_nothing_heavy_is_loaded_for_nothing(options, two, environment):
    scan(options)
    program = (
        "import sys; from medscan.cli import app; "
        f"app(['scan', {str(two)!r}, '--out', {str(options.outputs.out)!r}, '--no-hash-paths', "
        f"'--key-file', {str(options.outputs.key_path)!r}, "
        f"'--detector', {str(options.inputs.detectors[0][0])!r}, "
        "'--batch-size', '4', '--device', 'cpu'], standalone_mode=False); "
        "print([n for n in ('torch', 'open_clip', 'SimpleITK') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    first, loaded = done.stdout.splitlines()
    assert first.startswith("nothing new: 2 studies unchanged")
    assert loaded == "[]"


def test_a_file_that_is_still_arriving_is_looked_at_again(options, two, looks):
    settling = changed(options, settle_s=3600.0)
    for path in two.rglob("*"):
        os.utime(path, (1, 1))
    half = tiny.write_nifti(two / "half.nii", tiny.head_volume(3, slices=2))
    half.write_bytes(half.read_bytes()[:-100])  # young, and in no study
    assert scan(settling).reasons["arriving"] == 1
    scan(settling)
    assert len(looks) == 2


def test_what_a_site_leaves_out_since_last_night_is_out_of_scope_tonight(options, two):
    assert scan(options).coverage.scored == 2
    tonight = scan(changed(options, left_out=(("Modality", "MR"),)))
    assert tonight.coverage.scored == 0
    assert tonight.coverage.kept_only == 2
    assert scan(options).coverage.scored == 2
