"""Distances of images from the shots, by features of the whole of them."""

import numpy as np
import pytest
import torch

from medscan.errors import DetectorError
from medscan.parts import Distance


def drawn(count, seed=0, width=24):
    """Rows of very different spread along few directions, and little along all others."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(10, 0.1, width)
    return torch.from_numpy(rng.normal(size=(count, width)) * spread + 3).float()


def test_many_shots_give_the_distance_of_mahalanobis():
    shots, new = drawn(20_000), drawn(5, seed=1)
    centred = (new - shots.mean(0)).double().numpy()
    precision = np.linalg.inv(np.cov(shots.double().numpy().T, bias=True))
    wanted = np.sqrt(np.einsum("if,fg,ig->i", centred, precision, centred) / 24)
    # Shrunk a little all the same, which shortens the narrowest directions.
    assert Distance.of(shots)(new).numpy() == pytest.approx(wanted, rel=0.1)


def test_what_lies_outside_of_all_that_few_shots_vary_in_is_far():
    shots = torch.zeros(6, 24)
    shots[:, :3] = drawn(6, width=3) * 10
    distance = Distance.of(shots)
    near, far = shots[:1].clone(), shots[:1].clone()
    near[0, 0] += 20
    far[0, 20] += 20
    assert float(distance(far)) > 2 * float(distance(near))


def test_shots_that_are_all_alike_give_finite_distances():
    distance = Distance.of(torch.ones(4, 8))
    assert distance(torch.stack([torch.ones(8), torch.zeros(8)])).isfinite().all()


def test_a_distance_depends_on_its_own_image_alone():
    distance, rows = Distance.of(drawn(50)), drawn(8, seed=2)
    with torch.inference_mode():
        wanted = distance(rows)
        assert torch.equal(distance(rows.roll(3, 0)), wanted.roll(3))


def test_planes_of_another_width_are_refused():
    with pytest.raises(DetectorError, match="its gate does not fit its method"):
        Distance.of(drawn(9))(torch.zeros(2, 23))
