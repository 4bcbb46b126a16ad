"""Whose images a detector was fitted on stays beside its file, and is known there alone."""

import json

import pytest

from medscan import donors
from medscan.donors import digests
from medscan.errors import DiskError

PRINTS = ("a" * 64, "b" * 64)
WHOM = digests(["id:P1", "id:P2"], PRINTS)


def test_digests_are_of_one_detector_and_tell_nothing(tmp_path):
    assert set(digests(["id:P1"], PRINTS)) < set(WHOM)
    assert digests(["id:P2", "id:P1"], reversed(PRINTS)) == WHOM
    assert not set(digests(["id:P1"], PRINTS[:1])) & set(WHOM)
    path = tmp_path / "d.safetensors"
    donors.write(path, "c" * 64, WHOM)
    text = (tmp_path / "d.safetensors.patients").read_text()
    assert "P1" not in text
    assert (tmp_path / "d.safetensors.patients").stat().st_mode & 0o777 == 0o600
    assert donors.read(path, "c" * 64) == WHOM


def test_donors_of_another_file_are_none_of_this_one(tmp_path):
    path = tmp_path / "d.safetensors"
    donors.write(path, "c" * 64, WHOM)
    assert donors.read(path, "d" * 64) is None
    donors.write(path, "d" * 64, ())
    assert list(tmp_path.iterdir()) == []
    assert donors.read(path, "c" * 64) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "\0", "[" * 5000, json.dumps({"detector": "c" * 64, "patients": [1]})]
)
def test_a_damaged_file_is_as_none(tmp_path, text):
    (tmp_path / "d.safetensors.patients").write_text(text)
    assert donors.read(tmp_path / "d.safetensors", "c" * 64) is None


def test_where_it_cannot_be_removed_it_is_said(tmp_path):
    (tmp_path / "d.safetensors.patients").mkdir()
    with pytest.raises(DiskError, match="could not be removed"):
        donors.write(tmp_path / "d.safetensors", "c" * 64, None)
