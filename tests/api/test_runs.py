"""Scans and fits from Python do what the commands do, and print nothing."""

import datetime
import inspect
import math
import os
import signal

import numpy as np
import pytest

import medscan
from medscan.cli import tree
from medscan.errors import DiskError, LockedError, MedscanError, UsageError
from medscan.scanning import locked
from tests import tiny

TERMINAL = {"as_json", "profile", "strict", "dry_run", "explain", "log_file", "engine", "address"}
"""Options of `medscan scan` about what it prints, or where it runs."""


@pytest.fixture
def archive(tmp_path):
    for seed, name in enumerate("ab"):
        tiny.write_series(
            tmp_path / "archive" / name, tiny.head_volume(seed, 4), study=f"1.2.{seed}"
        )
    return tmp_path / "archive"


@pytest.fixture
def scan(archive, detector_file, tmp_path):
    def run(out="night.h5", **options):
        given = {"detector": detector_file, "device": "cpu", "batch_size": 4, "workers": 0}
        return medscan.scan(archive, tmp_path / out, **given | options)

    return run


@pytest.fixture
def ctrl_c():
    """SIGINT as in a terminal: programs in the background of a shell ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_output_that_cannot_be_written_hides_no_fault(scan, archive, tmp_path):
    broken = min((archive / "a").iterdir())
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(DiskError, match="name too long; files or folders that fail now: 1 trunc"):
        scan(accounting=tmp_path / f"{250 * 'a'}.csv")
    assert scan().faults() == []


def options_of(command):
    return {p.name for p in tree().commands[command].params}


@pytest.mark.parametrize(("function", "left_out"), [("scan", TERMINAL), ("fit", {"select"})])
def test_keywords_are_the_options_of_the_command(function, left_out):
    named = {"only_shard": "shard"}
    options = {named.get(name, name) for name in options_of(function)}
    keywords = set(inspect.signature(getattr(medscan, function)).parameters)
    assert keywords - {"watch"} == options - left_out


def test_defaults_are_those_of_the_command():
    command = tree().commands["scan"]
    defaults = {p.name: p.default for p in command.params if p.default is not None}
    for name, parameter in inspect.signature(medscan.scan).parameters.items():
        if name in defaults and parameter.default not in (None, ()):
            assert str(parameter.default) in (str(defaults[name]), f"{defaults[name]}.0"), name


def test_a_scan_writes_what_the_command_writes(scan, tmp_path, capfd):
    seen = []
    summary = scan(watch=lambda *numbers: seen.append(numbers), accounting=tmp_path / "files.csv")
    assert (summary.studies, summary.scanned, summary.slices) == (2, 2, 8)
    assert summary.files == {"scanned": 8, "skipped": 0, "failed": 0}
    assert seen[-1][1:] == (2, 8, 0)
    for name in ("night.h5", "night.csv", "night.html", "files.csv"):
        assert (tmp_path / name).stat().st_size
    assert len(medscan.open_results(tmp_path / "night.h5")) == 2
    again = scan()
    assert (again.scanned, again.unchanged) == (0, 2)
    assert "nothing new" in again.line()
    assert capfd.readouterr() == ("", "")


def test_values_stand_for_the_text_of_options(scan, tmp_path):
    key = {"key_file": tmp_path / "key"}
    parts = [scan(f"{n}.h5", shard=(n, 2), **key).studies for n in (1, 2)]
    assert sum(parts) == 2
    left = scan("left.h5", leave_out=[("SeriesDescription", "FLAIR")])
    assert left.reasons == {"out-of-scope": 8}
    assert scan("few.h5", max_studies=1, order="newest", plane="axial").left == 1
    later = (datetime.datetime.now().astimezone() + datetime.timedelta(hours=2)).time()
    assert scan("later.h5", until=later, identify=True, settle=0.0).scanned == 2
    assert scan("settle.h5", settle=3600.0).arriving == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"plane": "oblique"},
        {"order": "size"},
        {"rescan": "some"},
        {"precision": "fp8"},
        {"shard": (3, 2)},
        {"batch_size": 0},
        {"domain": {"organ": "brain"}},
        {"leave_out": [("ImageTyp", "LOCALIZER")]},
        {"link_template": "no address"},
        {"detector": "nothing"},
        {"file_timeout": 0},
        {"max_file_gib": 0},
        {"out": "nowhere/night.h5"},
        {"out": "a\0b"},
        {"max_studies": 0},
        {"prune": -5},
        {"prune": "30d"},
        {"settle": "15m"},
        {"every": "3"},
        {"max_file_gib": "8"},
        {"until": "06:00"},
        {"shard": "1/2"},
        {"max_studies": "3"},
        {"min_side": "a"},
        {"batch_size": "auto"},
        {"watch": 3},
        {"workers": None},
        {"device": None},
        {"identify": "no"},
        {"detector": None},
        {"domain": "modality=US"},
        {"domain": {"modality": 3}},
        {"leave_out": ["x"]},
        {"drop_detector": "x"},
        {"max_file_gib": math.nan},
        {"max_file_gib": math.inf},
        {"max_file_gib": 1e300},
        {"every": True},
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(wrong, scan, tmp_path):
    with pytest.raises(UsageError):
        scan(**wrong)
    assert not list(tmp_path.glob("night*"))


def test_an_empty_path_is_not_the_current_folder(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(archive)
    for given in ({"archive": ""}, {"archive": [archive, ""]}, {"archive": archive, "out": ""}):
        with pytest.raises(UsageError, match="'' is no path"):
            medscan.scan(**{"out": tmp_path / "night.h5"} | given)
    assert not list(tmp_path.glob("night*"))


def test_numbers_of_numpy_and_iterators_are_as_good_as_others(archive, scan, tmp_path, key_file):
    pairs = iter([("ImageType", "LOCALIZER")])
    given = {"settle": np.float32(0), "leave_out": pairs, "shard": [1, 1], "key_file": key_file}
    assert scan(max_studies=np.int64(1), **given).scanned == 1


def test_a_scan_that_is_held_up_is_an_error(scan, tmp_path):
    with locked(tmp_path / "night.h5"), pytest.raises(LockedError):
        scan()


def test_what_ends_a_scan_is_an_error(scan, archive, monkeypatch):
    from medscan.scanning import pipeline

    monkeypatch.setattr(pipeline.Room, "reserve", lambda *_: "no space is left for it")
    with pytest.raises(MedscanError, match="no space"):
        scan()


def test_ctrl_c_publishes_and_is_raised_again(scan, tmp_path, ctrl_c):
    def interrupt(*_):
        if not interrupted:
            interrupted.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    interrupted, before = [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        scan(watch=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(medscan.open_results(tmp_path / "night.h5")) + scan().scanned >= 2


def test_a_fit_writes_and_loads_a_detector(pictures, backbone_folder, tmp_path, capfd):
    out = tmp_path / "mine.safetensors"
    detector = medscan.fit(
        pictures,
        out,
        shots=3,
        method="discriminant",
        backbone=f"local-dir:{backbone_folder}",
        modality="MR",
        plane="axial",
        folds=2,
        device="cpu",
    )
    assert (detector.name, detector.domain) == ("mine", "MR axial")
    image = np.asarray(tiny.head_volume(0, 3)[:, :, 1])
    loaded = medscan.Detector.load(out, device="cpu")
    assert loaded.score(image).score == detector.score(image).score
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"plane": "oblique"},
        {"precision": "fp8"},
        {"shots": 0},
        {"out": "nowhere/a"},
        {"shots": "3"},
        {"seed": "x"},
        {"normal": "normal"},
        {"settings": ["epochs=3"]},
        {"data": None},
    ],
    ids=str,
)
def test_a_fit_that_cannot_work_is_refused_before_any_work(wrong, pictures, tmp_path):
    with pytest.raises(UsageError):
        medscan.fit(**{"data": pictures, "out": tmp_path / "a.safetensors"} | wrong)


def test_a_fit_may_be_of_studies(backbone_folder, tmp_path):
    rows = ["StudyInstanceUID,label"]
    for number in range(4):
        volume = tiny.head_volume(number, slices=4)[:, :, : 2 + 2 * (number % 2)]
        tiny.write_series(tmp_path / "archive" / str(number), volume, study=f"1.{number}")
        rows.append(f"1.{number},{('normal', 'abnormal')[number % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    detector = medscan.fit(
        out=tmp_path / "d.safetensors",
        archive=tmp_path / "archive",
        labels=tmp_path / "labels.csv",
        shots=2,
        method="discriminant",
        backbone=f"local-dir:{backbone_folder}",
        folds=0,
        device="cpu",
    )
    assert detector.domain.startswith("BRAIN FLAIR MR")
    with pytest.raises(UsageError, match="add --labels"):
        medscan.fit(archive=tmp_path / "archive")
