"""A detector is tried in lower precisions, and carries what came of it."""

import json
from dataclasses import asdict, replace
from unittest.mock import Mock

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medscan import detector, optimise
from medscan.choices import Precision
from medscan.errors import DetectorError, UsageError
from medscan.evaluate import Evaluation
from medscan.evaluate.figures import Row
from medscan.history import Layer, Trial
from medscan.runtimes import lower_precisions
from tests import tiny
from tests.runtimes import needs_bf16

LAYER = Layer(32, 96, -1.5, 2.25)
TRIAL = Trial("bf16", "openvino 1", 100, 0, 0.01, 0.999, 0.001)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Patients whom the detector was not fitted on."""
    folder = tiny.write_pictures(tmp_path_factory.mktemp("others"), 3, tests=2)
    tiny.make_others(folder)
    return folder


def tensors(path):
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


@needs_bf16
def test_it_is_the_same_detector_with_a_trial(
    detector_file, data, tmp_path, kept_graphs, monkeypatch
):
    monkeypatch.setattr(optimise, "FEWEST", 3)
    gates = []
    monkeypatch.setattr(optimise, "_moved", lambda *told: gates.append(told) or 1)
    out = tmp_path / "fast.safetensors"
    found = optimise.optimise(detector_file, data, out)
    assert [trial.precision for trial in found.trials] == lower_precisions()
    for trial in found.trials:
        assert (trial.slices, trial.seen) == (7, False)  # those of three patients are measured
        assert trial.runtime.startswith("openvino 20")
        assert 0 < abs(trial.bias) < 1
        assert trial.spearman > 0.8
        assert bool(trial.layers) == (trial.precision == "int8")
        assert trial.unlike == 1
    for before, after, limit in gates:
        assert np.isfinite([*before, *after, limit]).all()
        assert len(before) == len(after) == 7
    read = detector.read(out)
    assert read == found
    old = detector.read(detector_file)
    assert replace(read, name=old.name, digest=old.digest, trials=(), donors=old.donors) == old
    assert tensors(out) == tensors(detector_file)


@needs_bf16
def test_data_that_shows_too_little_is_refused(detector_file, data, tmp_path, kept_graphs):
    with pytest.raises(UsageError, match=r"leaves [34] normal slices to compare"):
        optimise.optimise(detector_file, data, tmp_path / "fast.safetensors")
    assert list(tmp_path.glob("*.safetensors")) == []


@needs_bf16
def test_a_detector_is_not_tried_on_its_own_shots(
    detector_file, pictures, tmp_path, kept_graphs, monkeypatch
):
    monkeypatch.setattr(optimise, "FEWEST", 0)
    with pytest.raises(UsageError, match="every patient gave a shot"):
        optimise.optimise(detector_file, pictures, tmp_path / "fast.safetensors")
    monkeypatch.setattr(optimise, "_scored", Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):  # unless that is asked for
        optimise.optimise(detector_file, pictures, tmp_path / "fast.safetensors", split="train")


def scores(*values, threshold=0.5, distances=()):
    class Area:
        value = float(np.mean(values))

    class Slices:
        auroc = Area

    rows = tuple(Row(str(n), "p", n % 2, s, s >= threshold) for n, s in enumerate(values))
    found = object.__new__(Evaluation)
    object.__setattr__(found, "rows", rows)
    object.__setattr__(found, "slices", Slices)
    object.__setattr__(found, "pixels", None)
    object.__setattr__(found, "distances", distances)
    return found


def test_what_a_trial_compares():
    full, low = scores(0.1, 0.4, 0.6, 0.9), scores(0.2, 0.5, 0.55, 1.0)
    trial = optimise.compare(Precision.BF16, full, low)
    assert (trial.slices, trial.flags, trial.pixel_auroc) == (4, 1, None)
    assert trial.bias == pytest.approx(0.0625 / np.std([0.1, 0.4, 0.6, 0.9]))
    assert trial.spearman == 1
    assert trial.image_auroc == pytest.approx(0.0625)


def test_a_trial_counts_slices_that_become_unlike_the_shots_or_like_them():
    values, limit = (0.1, 0.4, 0.6, 0.9), 2.0
    full = scores(*values, distances=(1.0, 1.9, 2.0, 9.0))
    low = scores(*values, distances=(1.5, 2.1, 1.9, float("nan")))
    assert optimise.compare(Precision.BF16, full, low, limit).unlike == 2
    assert optimise.compare(Precision.BF16, full, low).unlike is None


# --- in a detector's file -----------------------------------------------------------------------


def told(detector_file, folder, text):
    with safe_open(detector_file, "pt") as file:
        metadata = file.metadata()
    path = folder / "told.safetensors"
    save_file(load_file(detector_file), path, metadata | {"medscan.trials": text})
    return path


def test_trials_are_read_and_what_a_newer_version_adds_is_passed_over(detector_file, tmp_path):
    rounded = replace(TRIAL, precision="int8", layers=(LAYER,), seen=True)
    text = json.dumps([asdict(TRIAL) | {"mood": "good"}, asdict(rounded)])
    assert detector.read(told(detector_file, tmp_path, text)).trials == (TRIAL, rounded)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        "[3]",
        "[" * 100_000,
        json.dumps([asdict(TRIAL) | {"bias": "0"}]),
        json.dumps([asdict(TRIAL) | {"bias": float("nan")}]),
        json.dumps([asdict(TRIAL) | {"flags": -1}]),
        json.dumps([asdict(TRIAL) | {"precision": "a\nb"}]),
        json.dumps([asdict(TRIAL)] * 101),
        json.dumps([asdict(TRIAL) | {"layers": [asdict(LAYER) | {"low": float("-inf")}]}]),
        json.dumps([asdict(TRIAL) | {"layers": [asdict(LAYER) | {"low": 0.5}]}]),
        json.dumps([asdict(TRIAL) | {"layers": [asdict(LAYER) | {"inputs": -1}]}]),
        json.dumps([asdict(TRIAL) | {"layers": [asdict(LAYER)] * 10_001}]),
    ],
)
def test_trials_that_are_none_are_refused(detector_file, tmp_path, text):
    with pytest.raises(DetectorError, match=r"lacks|damaged"):
        detector.read(told(detector_file, tmp_path, text))


def test_the_precision_of_a_scan_is_not_a_field_of_the_file(detector_file, tmp_path):
    with safe_open(detector_file, "pt") as file:
        metadata = file.metadata()
    facts = json.loads(metadata["medscan"]) | {"precision": "bf16"}
    path = tmp_path / "told.safetensors"
    save_file(load_file(detector_file), path, metadata | {"medscan": json.dumps(facts)})
    with pytest.raises(DetectorError, match="precision: not a field of the file"):
        detector.read(path)
