"""Shards: together they are the whole scan, and none disturbs what another has done."""

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from medscan import results
from medscan.archive import readers
from medscan.choices import Shard
from medscan.errors import UsageError, WeightsError
from medscan.inspect import forecast, forecast_scan, forecast_shards
from medscan.results import Mark
from medscan.scanning import run, scan
from tests import tiny
from tests.content import content
from tests.options import changed
from tests.report import make

COUNT = 3


@pytest.fixture
def many(root):
    """Studies in every shard, and files of none."""
    for n in range(8):
        tiny.write_series(root / f"s{n}", tiny.head_volume(n, slices=2), study=f"1.2.{n + 8}")
    tiny.write_nifti(root / "pair" / "head.hdr", tiny.head_volume(3))
    tiny.write_nifti(root / "loose.nii.gz", tiny.head_volume(4))
    (root / "s1" / "copy").write_bytes((root / "s1" / "0001").read_bytes())
    (root / "s2" / "0001").write_bytes((root / "s2" / "0001").read_bytes()[:-500])
    for n in range(4):
        (root / f"note{n}.txt").write_text("no image")
    return root


def share(options, number):
    return changed(
        options,
        out=options.outputs.out.with_name(f"shard-{number}.h5"),
        shard=Shard(number, COUNT),
    )


def entries(summaries):
    return sorted(
        (e.file.path, str(e.outcome.reason), e.outcome.study, e.stack, e.index)
        for summary in summaries
        for e in summary.entries
    )


def test_the_shards_are_the_whole_scan(options, many):
    whole = scan(options)
    parts = [scan(share(options, n + 1)) for n in range(COUNT)]
    assert entries(parts) == entries([whole])
    assert sum((Counter(p.files) for p in parts), Counter()) == Counter(whole.files)
    assert sum((Counter(p.reasons) for p in parts), Counter()) == Counter(whole.reasons)
    assert [p.shard for p in parts] == ["1/3", "2/3", "3/3"]
    assert [(p.studies > 0, p.scanned - p.studies) for p in parts] == [(True, 0)] * COUNT
    assert sum(p.slices for p in parts) == whole.slices
    united = {}
    for number in range(1, COUNT + 1):
        path = share(options, number).outputs.out
        assert results.open(path).shard() == results.open(path).run().shard == f"{number}/3"
        made = content(path)
        assert not united.keys() & made.keys()
        united |= made
    assert united == content(options.outputs.out)
    assert results.open(options.outputs.out).shard() == ""


def test_a_dry_run_of_a_shard_foresees_it(options, many):
    for number in range(1, COUNT + 1):
        options_ = share(options, number)
        forecast = forecast_scan(options_)
        foreseen = Counter(e.file.path for e in forecast.entries)
        assert not options_.outputs.out.exists()
        summary = scan(options_)
        assert foreseen == Counter(e.file.path for e in summary.entries)
        assert forecast.studies == summary.studies
        assert forecast_scan(options_).unchanged == summary.studies


def test_what_is_in_other_shards_is_not_absent(options, many):
    for number in range(1, COUNT + 1):
        scan(share(options, number))
    shutil.rmtree(many / "s4")
    again = [scan(changed(share(options, n + 1), prune_s=0.0)) for n in range(COUNT)]
    assert sum(summary.absent for summary in again) == 1
    assert [summary.scanned for summary in again] == [0] * COUNT
    last = [scan(changed(share(options, n + 1), prune_s=0.0)) for n in range(COUNT)]
    assert sum(summary.pruned for summary in last) == 1
    kept = [
        s for n in range(COUNT) for s in results.open(share(options, n + 1).outputs.out).studies()
    ]
    assert len(kept) == 9
    assert {study.mark for study in kept} == {Mark()}


def test_a_shard_on_a_night_without_changes_only_walks(options, many, monkeypatch):
    first = scan(share(options, 1))
    monkeypatch.setattr(run, "survey_archive", None)
    again = scan(share(options, 1))
    assert (again.studies, again.unchanged, again.files) == (
        first.studies,
        first.studies,
        first.files,
    )


def test_budgets_are_of_the_shard(options, many):
    first = scan(changed(share(options, 2), max_studies=1))
    assert (first.scanned, first.left) == (1, first.studies - 1)
    assert scan(share(options, 2)).scanned == first.left


@pytest.mark.parametrize(
    ("before", "after"), [((1, 3), (1, 2)), ((1, 3), (2, 3)), ((1, 3), None), (None, (1, 3))]
)
def test_one_share_is_not_added_to_another(options, many, before, after):
    def asked(which):
        return changed(options, shard=which and Shard(*which))

    scan(changed(asked(before), max_studies=1))
    published = options.outputs.out.read_bytes()
    for work in (scan, forecast_scan):
        with pytest.raises(UsageError, match=r"results\.h5 holds .*choose another --out"):
            work(changed(asked(after), prune_s=0.0))
    assert options.outputs.out.read_bytes() == published


def test_parts_of_another_share_are_not_published(options, many, monkeypatch):
    """Nothing is published yet: only the ledger knows what the parts are of."""
    with monkeypatch.context() as patched:
        patched.setattr(results, "publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scan(changed(options, shard=Shard(1, 3)))
    assert list(options.outputs.parts.iterdir())
    with pytest.raises(UsageError, match="holds shard 1/3"):
        scan(options)
    assert scan(changed(options, shard=Shard(1, 3))).scanned == 0
    assert results.open(options.outputs.out).shard() == "1/3"


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no ledger" * 99)])
def test_parts_of_a_share_outlive_its_ledger(options, many, monkeypatch, damage):
    asked = changed(options, shard=Shard(1, 3))
    with monkeypatch.context() as patched:
        patched.setattr(results, "publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scan(asked)
    damage(options.outputs.ledger_path)
    summary = scan(asked)
    assert (summary.scanned, summary.unchanged) == (0, summary.studies)
    assert results.open(options.outputs.out).shard() == "1/3"


def test_a_shard_that_cannot_be_scanned_takes_the_key_from_no_other(options, many, monkeypatch):
    options.outputs.key_file.unlink()

    def lost(*_args, **_options):
        raise WeightsError("not on this node")

    with monkeypatch.context() as patched:
        patched.setattr("medscan.detector.Detector.load_backbone", lost)
        with pytest.raises(WeightsError):
            scan(share(options, 1))
        key = options.outputs.key_file.read_bytes()
        with pytest.raises(WeightsError):
            scan(changed(options, key_file=None))
    scan(share(options, 2))
    assert options.outputs.key_file.read_bytes() == key
    assert not share(options, 1).outputs.ledger_path.exists()
    assert not options.outputs.out.with_name("results.h5.key").exists()


def test_an_empty_share_leaves_a_file_too(options, root):
    tiny.write_series(root / "a", tiny.head_volume(0, slices=2), study="1.2.1")
    parts = [scan(share(options, n + 1)) for n in range(COUNT)]
    assert sorted(p.studies for p in parts) == [0, 0, 1]
    assert all(share(options, n + 1).outputs.out.exists() for n in range(COUNT))
    assert [scan(share(options, n + 1)).scanned for n in range(COUNT)] == [0] * COUNT


def test_shards_need_one_key_for_all(options, many):
    with pytest.raises(UsageError, match="--shard needs --key-file"):
        scan(changed(options, shard=Shard(1, 3), key_file=None))
    assert not options.outputs.out.with_name("results.h5.ledger").exists()


def test_an_unlisted_folder_is_known_to_every_shard(options, many, monkeypatch):
    """Who accounts for the folder is one shard; whose studies lie there may be another."""
    for number in range(1, COUNT + 1):
        scan(share(options, number))
    monkeypatch.setattr(os, "scandir", _refusing(many / "s5"))
    again = [scan(changed(share(options, n + 1), prune_s=0.0)) for n in range(COUNT)]
    assert sum(summary.absent for summary in again) == 0
    assert sum(summary.reasons.get("unreadable", 0) for summary in again) == 1


def _refusing(folder):
    real = os.scandir

    def scandir(path):
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied")
        return real(path)

    return scandir


# --- forecasts of shards ------------------------------------------------------------------------


def test_the_plan_is_what_the_shards_do(options, many):
    before = sorted(many.parent.rglob("*"))
    told = forecast_shards(options, COUNT)
    assert sorted(many.parent.rglob("*")) == before
    parts = [scan(share(options, n + 1)) for n in range(COUNT)]
    assert [s.studies for s in told.shards] == [p.studies for p in parts]
    assert sum(s.slices for s in told.shards) == sum(p.slices for p in parts)
    broken, aside = many / "s2" / "0001", {"copy", *(f"note{n}.txt" for n in range(4))}
    files = [p for p in many.rglob("*") if p.is_file() and p != broken and p.name not in aside]
    assert told.total().bytes == sum(path.stat().st_size for path in files)
    assert told.total().studies == 10
    assert told.imbalance == pytest.approx(
        max(s.slices for s in told.shards) * COUNT / told.total().slices
    )
    assert told.seconds_a_slice > 0
    assert told.total().seconds == pytest.approx(
        told.seconds_a_slice * told.total().slices, abs=0.1 * COUNT
    )
    assert forecast_shards(options, 1).shards[0].studies == 10


def test_time_is_measured_with_files_that_are_read(options, many, monkeypatch):
    opened, real = [], forecast.decode

    def counting(jobs, *limits):
        jobs = list(jobs)
        opened.extend(frame.file.path for job in jobs for frame in job.frames)
        return real(iter(jobs), *limits)

    monkeypatch.setattr(forecast, "decode", counting)
    tiny.write_series(many / "long", tiny.head_volume(1, slices=12), study="1.3.1")
    forecast_shards(options, COUNT)
    assert len(opened) == 1 + forecast.SAMPLE


def test_a_plan_of_nothing(options, root):
    told = forecast_shards(options, 2)
    assert (told.imbalance, told.seconds_a_slice, told.total().studies) == (1.0, 0.0, 0)
    assert told.text().splitlines()[-1] == "the largest shard has 1.00 times the mean"


def watch_reading(monkeypatch):
    """The files whose headers are given to workers from now on."""
    opened, real = [], readers.Readers.submit

    def submit(self, files):
        opened.extend(files)
        return real(self, files)

    monkeypatch.setattr(readers.Readers, "submit", submit)
    return opened


def test_a_plan_opens_no_file_that_the_ledger_knows(options, many, monkeypatch):
    fresh = forecast_shards(options, COUNT)
    scan(options)
    opened = watch_reading(monkeypatch)
    told = forecast_shards(changed(options, ledger=options.outputs.ledger_path), COUNT)
    assert opened == []
    assert [replace(s, seconds=0.0) for s in told.shards] == [
        replace(s, seconds=0.0) for s in fresh.shards
    ]


def test_a_shard_with_a_copy_of_a_ledger_reads_no_header_again(options, many, monkeypatch):
    first = changed(options, out=options.outputs.out.with_name("index.h5"), max_studies=1)
    scan(first)
    whole = [scan(share(options, n + 1)).studies for n in range(COUNT)]
    opened = watch_reading(monkeypatch)
    for number, studies in enumerate(whole, 1):
        copy = options.outputs.out.with_name(f"copy-{number}.h5")
        other = changed(options, out=copy, shard=Shard(number, COUNT))
        shutil.copy(first.outputs.ledger_path, other.outputs.ledger_path)
        assert scan(other).scanned == studies
    # What depends on another file is never taken from there.
    assert {file.path for file in opened} == {"pair/head.hdr"}


# --- medscan.results.missing_shards -------------------------------------------------------------


def test_missing_shards_are_named(options, many, tmp_path):
    for number in (1, 3):
        scan(share(options, number))
    found = [results.open(share(options, number).outputs.out) for number in (1, 3)]
    assert results.missing_shards(found) == ["2/3"]
    assert results.missing_shards(found[:1]) == ["2/3", "3/3"]
    scan(options)
    whole = results.open(options.outputs.out)
    assert results.missing_shards([whole]) == []
    assert results.missing_shards([whole, found[0]]) == []
    elsewhere = make.results(tmp_path, make.few_studies(), name="elsewhere.h5")
    assert results.missing_shards([elsewhere, *found]) == ["2/3"]
    scan(share(options, 2))
    assert results.missing_shards([*found, results.open(share(options, 2).outputs.out)]) == []


def test_shards_of_different_keys_are_not_one_archive(options, many, tmp_path):
    (tmp_path / "other").write_text("7b" * 32)
    scan(share(options, 1))
    scan(changed(share(options, 2), key_file=tmp_path / "other"))
    found = [results.open(share(options, number).outputs.out) for number in (1, 2)]
    with pytest.raises(UsageError, match="made with different keys"):
        results.missing_shards(found)
