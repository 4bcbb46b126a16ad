"""A fit gives a detector its gate, which is saved, and marks what is unlike the shots."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medscan import detector
from medscan.choices import Precision, RuntimeName
from medscan.errors import DetectorError
from medscan.profile import Clock
from medscan.runtimes import load
from tests.test_detector import metadata_of

MADE = "gate.planes"


def distances(path, images, runtime=RuntimeName.TORCH):
    """Of images (B, 3, S, S), as a scan computes them."""
    model = load(path, detector.read(path), Precision.FP32, runtime=runtime)
    batch = model.empty(len(images))
    np.asarray(batch)[:] = images
    output = model.run(batch, Clock())
    scores, _ = output.wait(Clock())
    return scores, output.distances()


def test_shots_lie_within_and_noise_beyond(detector_file, pictures):
    from medscan.shots import read_items, stream_slices

    gate = detector.read(detector_file).gate
    assert len(gate.normals) == 6
    assert gate.provisional  # six normals
    assert gate.spans == {}  # pictures say nothing of how they were taken
    items = [item for item in read_items(pictures) if not item.label]
    shots = [s.image for s in stream_slices(items, size=64, window="auto", plane=None)]
    noise = np.random.default_rng(0).random((len(shots), 3, 64, 64), np.float32)
    ours, theirs = distances(detector_file, shots)[1], distances(detector_file, noise)[1]
    assert (ours < gate.limit).all()
    assert (theirs > gate.limit).all()


def test_a_detector_without_a_gate_scores_alike_and_says_nothing(detector_file, tmp_path):
    """As older versions wrote it."""
    path, state = tmp_path / "old.safetensors", load_file(detector_file)
    metadata = metadata_of(detector_file)
    del state[MADE], metadata["medscan.gate"]
    save_file(state, path, metadata)
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    (new, known), (old, nothing) = distances(detector_file, images), distances(path, images)
    assert np.array_equal(new, old)
    assert np.isfinite(known).all()
    assert np.isnan(nothing).all()
    assert detector.read(path).gate is None


def test_both_runtimes_agree(detector_file, kept_graphs):
    pytest.importorskip("openvino")
    images = np.random.default_rng(0).random((3, 3, 64, 64), np.float32)
    theirs = distances(detector_file, images)[1]
    ours = distances(detector_file, images, RuntimeName.OPENVINO)[1]
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("shape", [(31, 32), (5, 9), (0, 33)])
def test_a_gate_of_another_shape_is_refused(detector_file, tmp_path, shape):
    state = load_file(detector_file) | {MADE: torch.zeros(shape)}
    path = tmp_path / "wrong.safetensors"
    save_file(state, path, metadata_of(detector_file))
    with pytest.raises(
        DetectorError, match=r"its gate does not fit|not those of method|no tensors"
    ):
        distances(path, np.zeros((1, 3, 64, 64), np.float32))


@pytest.mark.parametrize("value", ['{"limit": 0}', '{"limit": NaN}', "3", '{"share": 0.05}'])
def test_a_wrong_gate_is_refused_by_name(detector_file, tmp_path, value):
    path = tmp_path / "wrong.safetensors"
    metadata = metadata_of(detector_file) | {"medscan.gate": value}
    save_file(load_file(detector_file), path, metadata)
    with pytest.raises(DetectorError, match=r"gate"):
        detector.read(path)


def test_other_facts_leave_the_gate_alone(detector_file, tmp_path):
    found = detector.read(detector_file)
    saved = replace(found, organ="Liver").save_with_tensors_of(
        tmp_path / "b.safetensors", detector_file
    )
    assert saved.gate == found.gate
    assert torch.equal(load_file(tmp_path / "b.safetensors")[MADE], load_file(detector_file)[MADE])
