import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from medscan.parts import fusion
from medscan.parts.fusion import Expectation

EVERY = torch.ones(8, dtype=torch.bool)
LABELS = torch.tensor([0.0] * 4 + [1.0] * 4)


def test_auroc_is_scikit_learns():
    scores = torch.tensor([0.1, 0.4, 0.4, 0.9, 0.4, 0.5, 0.95, 0.9])
    wanted = roc_auc_score(LABELS, scores)
    assert fusion.auroc(scores[4:], scores[:4]) == pytest.approx(wanted)


def test_separation_of_two_normal_distributions():
    wanted = 1.5  # their AUROC is Phi(1.5 / sqrt(2))
    area = 0.5 * (1 + math.erf(wanted / 2))
    assert fusion.separation(area) == pytest.approx(wanted)
    assert 0 < fusion.separation(0.1) < 0.1
    assert fusion.separation(1.0) < 3.1


def test_the_better_score_weighs_more_whatever_its_unit():
    good = torch.tensor([0.0, 1, 2, 3, 5, 6, 7, 8])
    bad = torch.tensor([0.0, 5, 6, 3, 1, 2, 7, 4])
    alike = [Expectation(0.8, 1)] * 2
    factors, offset = fusion.fuse(torch.stack([good, bad], 1), LABELS, EVERY, alike)
    assert factors[0] > factors[1] > 0
    scaled, moved = fusion.fuse(torch.stack([100 * good + 7, bad], 1), LABELS, EVERY, alike)
    assert scaled[0].item() == pytest.approx(factors[0].item() / 100)
    assert torch.allclose(
        torch.stack([good, bad], 1) @ factors + offset,
        torch.stack([100 * good + 7, bad], 1) @ scaled + moved,
        atol=1e-5,
    )


def test_a_shot_that_was_picked_out_does_not_move_the_zero():
    scores = torch.tensor([[0.0], [1], [2], [90], [5], [6], [7], [8]])
    typical = EVERY.clone()
    typical[3] = False
    factors, offset = fusion.fuse(scores, LABELS, typical, [Expectation(0.8, 1)])
    assert (scores[1] @ factors + offset).item() == pytest.approx(0)


def test_one_shot_of_each_label_is_enough():
    scores = torch.tensor([[0.0, 3.0], [1.0, 2.0]])
    factors, offset = fusion.fuse(
        scores, torch.tensor([0.0, 1.0]), EVERY[:2], [Expectation(0.8, 1), Expectation(0.7, 2)]
    )
    assert factors.isfinite().all()
    assert offset.isfinite()
