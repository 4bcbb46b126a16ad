"""Slices with the pixels of another are scored once, and nothing else changes."""

import os
from unittest.mock import Mock

import pytest

from medscan import detector, results
from medscan.scanning import scan
from medscan.scoring import scorer as room
from tests import tiny
from tests.options import changed


@pytest.fixture
def copied(root, options, detector_file):
    """A series of four slices, one repeated, a copy of it in another study, and another series."""
    volume = tiny.head_volume(0, slices=4)
    volume[..., 3] = volume[..., 0]  # a repeated frame
    tiny.write_series(root / "a", volume, study="1.0")
    tiny.write_series(root / "b", volume, study="1.1")
    tiny.write_series(root / "c", tiny.head_volume(1, slices=3), study="1.2")
    found = ((detector_file, detector.read(detector_file)),)
    return changed(options, detectors=found, batch_size=4)


def content(options):
    """Scores and maps of every stack."""
    return {
        study.key: [(s.slice_score.tobytes(), s.heatmap.tobytes()) for s in study.stacks]
        for study in results.open(options.outputs.out).studies()
    }


def test_copies_and_repeated_frames_are_scored_once(copied, tmp_path, monkeypatch):
    summary = scan(copied)
    assert (summary.slices, summary.repeated) == (11, 5)
    assert "11 slices, 5 of them repeated, in " in summary.line()
    assert results.open(copied.outputs.out).run().repeated == 5
    monkeypatch.setattr(room, "sha256", lambda _: Mock(digest=lambda: os.urandom(8)))
    apart = changed(copied, out=tmp_path / "apart.h5", ledger=tmp_path / "apart.ledger")
    assert scan(apart).repeated == 0
    assert content(apart) == content(copied)
