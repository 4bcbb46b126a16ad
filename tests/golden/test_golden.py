"""The drawn weights and the subset against the whole goldens, and the sampling itself."""

import hashlib
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from tests.golden import HERE, WHOLE, Sample, drawn, of_method, off

mvfa, madclip = partial(drawn.adapters, "mvfa"), partial(drawn.adapters, "madclip")
beside_the_whole = pytest.mark.skipif(
    not WHOLE.is_dir(), reason="the whole goldens are not beside this checkout"
)


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and numbers."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (drawn.backbone, "8ffe2c67a83e88a0113d700572ad9cf397907e5404f5a9a955f137f5128d7a18"),
        (mvfa, "6597d47147d026c5704429e8c165449a304b7368aa515cda4515dcd62b0ed0c1"),
        (madclip, "9bf0efd324dd4edba0fd71e175f1367f05f8f986bbcc8efba432a1d402cc6ed2"),
    ],
)
def test_drawn_weights_are_those_of_the_authors_runs(draw, expected):
    assert digest(draw()) == expected


def test_a_sample_has_every_nth_number():
    tensor = torch.arange(12.0).view(3, 4)
    sample = Sample(torch.tensor([0.0, 5.0, 10.0]), (3, 4), 5)
    assert off(tensor, sample) == 0
    assert off(tensor + 1, sample) == pytest.approx(0.1)
    with pytest.raises(AssertionError):
        off(tensor.t(), sample)


@beside_the_whole
@pytest.mark.parametrize("method", ["mvfa", "madclip", "medvmad"])
def test_the_subset_is_part_of_the_whole(method):
    subset, whole = of_method(method, HERE), of_method(method, WHOLE)
    for name, kept in subset.items():
        if isinstance(kept, Sample):
            assert torch.equal(kept.of(whole[name]), kept.values), name
        else:
            assert torch.equal(whole[name], kept), name


@beside_the_whole
def test_the_drawn_backbone_is_the_whole_one():
    whole, ours = load_file(WHOLE / "backbone" / "open_clip_model.safetensors"), drawn.backbone()
    assert set(ours) == set(whole)
    for name, tensor in ours.items():
        assert torch.equal(tensor, whole[name]), name
