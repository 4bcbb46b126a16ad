import pytest
import torch

from medscan.parts import scoring

LOGITS = torch.randn(3, 49, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [7, 64, 100])
@pytest.mark.parametrize("corners", [False, True])
def test_probabilities_are_those_of_two_upsampled_logits(size, corners):
    ours, theirs = (LOGITS.clone().requires_grad_() for _ in range(2))
    found = scoring.probability_maps(ours, size, align_corners=corners)
    both = scoring.upsample(scoring.on_grid(theirs), size, align_corners=corners)
    wanted = both.softmax(1)[:, 1]
    assert torch.allclose(found, wanted, atol=1e-5)
    weights = torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))
    for maps in (found, wanted):
        (maps * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-3, rtol=1e-4)
