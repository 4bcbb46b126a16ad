import pytest
import torch
from sklearn.linear_model import Ridge

from medscan.parts import regression


def drawn(count: int, width: int = 30) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count)) * 3 + 1


def test_the_dual_is_the_primal():
    rows, labels = drawn(12), torch.arange(12) % 2
    plane = regression.ridge(rows, labels, strength=0.7)
    unit = (rows - rows.mean(0)) / rows.std(0, correction=0)
    wanted = Ridge(alpha=0.7 * 30, fit_intercept=False).fit(unit, 2.0 * labels - 1)
    expected = torch.from_numpy(wanted.predict(unit)).float()
    assert torch.allclose(regression.project(rows, plane), expected, atol=1e-4)


def test_few_abnormal_shots_weigh_as_much_as_many_normal_ones():
    rows, labels = drawn(12), torch.tensor([1] * 2 + [0] * 10)
    plane = regression.ridge(rows, labels, strength=1e3)
    found = regression.project(rows, plane)
    assert found[:2].mean() > 0 > found[2:].mean()
    assert found.mean().item() == pytest.approx(0, abs=1e-4)


def test_numbers_that_never_change_are_left_alone():
    rows = drawn(6)
    rows[:, 3] = 5
    plane = regression.ridge(rows, torch.arange(6) % 2, strength=1)
    assert plane.isfinite().all()
    assert plane[3] == 0


def test_a_description_has_mean_deviation_and_maximum():
    patches = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    found = regression.describe(patches).view(2, 3, 3, 4)
    assert torch.allclose(found[:, :, 0], patches.mean(2))
    assert torch.allclose(found[:, :, 1], patches.std(2, correction=0))
    assert torch.equal(found[:, :, 2], patches.amax(2))
