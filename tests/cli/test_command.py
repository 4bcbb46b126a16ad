"""The command that results record is the one that ran, without what may name somebody."""

import shlex

import pytest

from medscan import results
from tests import tiny


@pytest.fixture
def recorded(inside, tmp_path):
    def run(*words):
        code, _, err = inside("scan", *words)
        assert (code, err) == (0, "")
        return results.open(tmp_path / "work" / "r.h5").run().command

    return run


def test_every_option_is_recorded_and_no_folder(recorded, detector_file, tmp_path):
    for name in ("Doe_Jane", "Roe"):
        volume = tiny.head_volume(len(name), slices=2)
        tiny.write_series(tmp_path / name, volume, study=f"1.{len(name)}")
    given = [tmp_path / "Doe_Jane", tmp_path / "Roe", "--detector", detector_file]
    given += ["--target-fpr", "0.10", "--prune", "30d", "--out", "r.h5", "--no-thumbnails"]
    given += ["--key-file", tmp_path / "my key", "--max-file-gib", "0.5", "--until", "6:00"]
    command = recorded(*given, "--batch-size=1", "--identify", "--workers", "0")
    assert command == (
        "medscan scan ARCHIVE ARCHIVE --detector tiny-flair.safetensors --target-fpr 0.10 "
        "--max-file-gib 0.5 --out r.h5 --key-file 'my key' --prune 30d --until 6:00 "
        "--batch-size 1 --workers 0 --identify --no-thumbnails"
    )
    # Run again where its files lie, it records itself.
    words = shlex.split(command)[2:]
    places = {"tiny-flair.safetensors": detector_file, "my key": tmp_path / "my key"}
    words = [tmp_path / "Doe_Jane", tmp_path / "Roe", *(places.get(w, w) for w in words[2:])]
    (tmp_path / "work" / "r.h5").unlink()
    assert recorded(*words) == command


def test_a_plain_scan_records_a_plain_command(recorded, detector_file, tmp_path):
    tiny.write_series(tmp_path / "a", tiny.head_volume(1, slices=2), study="1.2")
    assert recorded(tmp_path / "a", "--out", "r.h5") == "medscan scan ARCHIVE --out r.h5"
