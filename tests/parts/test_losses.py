"""Figures are those of the authors' own loss classes on small inputs."""

import pytest
import torch

from medscan.parts import losses

PROBABILITY = torch.tensor(
    [
        [0.236, 0.227, 0.801, 0.169],
        [0.265, 0.772, 0.128, 0.745],
        [0.804, 0.636, 0.59, 0.693],
        [0.878, 0.541, 0.14, 0.961],
    ]
)
OTHER = torch.tensor(
    [
        [0.867, 0.488, 0.208, 0.306],
        [0.059, 0.831, 0.457, 0.844],
        [0.688, 0.401, 0.18, 0.675],
        [0.179, 0.389, 0.797, 0.228],
    ]
)
MASK = torch.zeros(4, 4)
MASK[0, 2:] = 1
MASK[1, 1:3] = 1


def test_dice_of_the_authors():
    p, mask = torch.stack([PROBABILITY, OTHER]), torch.stack([MASK, torch.zeros(4, 4)])
    p.requires_grad_()
    loss = losses.dice(p, mask)
    loss.backward()
    assert loss.item() == pytest.approx(0.7673891186714172, rel=1e-4)
    assert p.grad[0, 0, 0].item() == pytest.approx(0.01284000277519226, rel=1e-3)
    assert p.grad[0, 0, 2].item() == pytest.approx(-0.06076517701148987, rel=1e-3)
    assert p.grad[1, 0, 0].item() == pytest.approx(0.006766703445464373, rel=1e-3)


def test_dice_of_an_empty_mask_is_nearly_constant_unless_the_batch_is_pooled():
    empty = torch.zeros(1, 4, 4)
    assert losses.dice(torch.full((1, 4, 4), 0.5), empty).item() == pytest.approx(0.8888889)
    assert losses.dice(empty, empty).item() == 0
    p = torch.stack([MASK, torch.full((4, 4), 0.3)])
    mask = torch.stack([MASK, torch.zeros(4, 4)])
    assert losses.dice(p, mask, over_batch=True) < losses.dice(p, mask)


def test_focal_by_its_definition():
    p, mask = PROBABILITY[None], MASK[None]
    likelihood = torch.where(mask > 0, p, 1 - p)
    wanted = (-((1 - likelihood) ** 2) * likelihood.log()).mean()
    assert losses.focal(p, mask).item() == pytest.approx(wanted.item(), rel=1e-3)


def test_legacy_bce_never_falls_below_its_floor():
    right = torch.tensor([1.0]), torch.tensor([1.0])
    assert losses.binary(*right, legacy=True).item() == pytest.approx(0.31326, abs=1e-4)
    assert losses.binary(*right).item() == pytest.approx(0, abs=1e-5)
    wrong = torch.tensor([0.0]), torch.tensor([0.0])
    assert losses.binary(*wrong, legacy=True).item() == pytest.approx(0.69315, abs=1e-4)


def test_bce_of_certain_and_wrong_is_finite():
    assert torch.isfinite(losses.binary(torch.tensor([0.0]), torch.tensor([1.0])))


def test_sigmoid_alignment_of_the_authors():
    margins = torch.tensor(
        [
            [[0.259, -0.73], [-0.459, 0.741], [-0.861, -1.152]],
            [[0.074, -1.121], [-0.72, -0.469], [0.473, -0.161]],
        ],
        requires_grad=True,
    )
    loss = losses.sigmoid_alignment(margins, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.item() == pytest.approx(1.3757895231246948, rel=1e-5)
    assert margins.grad[0, 0].tolist() == pytest.approx(
        [0.09406507015228271, -0.11246754974126816], rel=1e-4
    )
    assert margins.grad[1, 2].tolist() == pytest.approx(
        [-0.06398440897464752, 0.07663945108652115], rel=1e-4
    )


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_sigmoid_alignment_of_no_margin_is_the_same_for_either_label(label):
    loss = losses.sigmoid_alignment(torch.zeros(1, 4, 2), torch.tensor([label]))
    assert loss.item() == pytest.approx(1.3862943649291992)
