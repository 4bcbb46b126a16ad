import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medscan.errors import MedscanError
from medscan.evaluate import observe as room
from medscan.evaluate.observe import Observations, Truth, file_of, observe, upsample_to_square


def truth(**fields):
    known = {"name": "a", "patient": "p", "study": "p", "label": 0, "mask": None}
    return Truth(**known | {"inside": (0, 0, 4, 4)} | fields)


def test_maps_beyond_the_limit_go_to_disk_and_come_back(monkeypatch):
    monkeypatch.setattr(room, "IN_MEMORY", 1000)
    maps = np.random.default_rng(0).random((20, 2, 5, 5), np.float32)
    seen = Observations(5)
    for one in maps:
        seen.add(truth(), np.zeros(1, np.float32), one)
    assert seen._maps._rolled
    np.testing.assert_array_equal(list(seen.maps()), maps)
    first, second = seen.maps(), seen.maps()
    pairs = [(next(first), next(second)) for _ in range(20)]
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_slice_may_come_after_maps_were_read():
    seen = Observations(2)
    for value in range(3):
        seen.add(truth(), np.zeros(1, np.float32), np.full((1, 2, 2), value, np.float32))
        next(seen.maps())
    assert [m[0, 0, 0] for m in seen.maps()] == [0, 1, 2]


@given(hnp.arrays(bool, (7, 7)))
def test_masks_come_back(mask):
    seen = Observations(7)
    assert np.array_equal(seen.mask(truth(mask=np.packbits(mask).tobytes())), mask)
    assert not seen.mask(truth()).any()


def test_inside_is_the_picture_without_its_padding():
    inside = Observations(5).inside(truth(inside=(1, 0, 3, 5)))
    assert inside.sum() == 10
    assert inside[1:3].all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_and_maps_that_are_not_finite_are_refused(value):
    seen, fine = Observations(2), np.zeros((1, 2, 2), np.float32)
    with pytest.raises(MedscanError, match="a: its score is not finite"):
        seen.add(truth(), np.array([value], np.float32), fine)
    with pytest.raises(MedscanError, match="not finite"):
        seen.add(truth(), np.zeros(1, np.float32), fine + np.float32(value))


@pytest.mark.parametrize("published", [False, True])
def test_order_and_batches_do_not_matter(fitted, slices, monkeypatch, published):
    method = fitted[1]
    whole = observe(method, slices, published=published)
    monkeypatch.setitem(room.AUTO_BATCH_SIZES, "cpu", 3)
    other = observe(method, reversed(slices), published=published)
    assert [t.name for t in other.truths[::-1]] == [t.name for t in whole.truths]
    np.testing.assert_allclose(other.scores[::-1], whole.scores, rtol=1e-5, atol=1e-6)
    found = list(zip(list(other.maps())[::-1], whole.maps(), strict=True))
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in found)
    assert whole.shape == ((1, 64, 64) if published else (1, 4, 4))


def test_what_is_known_of_a_slice(fitted, slices):
    truths = {t.name: t for t in observe(fitted[1], slices, published=False).truths}
    assert len(truths) == 16
    ill = truths["abnormal/abnormal_p5_0.png"]
    assert (ill.patient, ill.study, ill.label) == ("abnormal5", "abnormal5", 1)
    assert ill.inside == (12, 0, 52, 64)
    assert truths["abnormal/abnormal_p7_1.png"].mask is None
    assert truths["normal/normal_p5_0.png"].mask is None


def test_only_a_number_behind_a_hash_names_a_slice():
    assert file_of("x/head.nii.gz#12") == "x/head.nii.gz"
    assert file_of("x/a#1.png") == "x/a#1.png"


@given(st.integers(2, 5), st.integers(0, 15))
def test_maps_are_enlarged_and_reach_the_border(grid, more):
    patch = 16
    found = np.random.default_rng(grid).random((grid, grid), np.float32)
    side, size = patch * grid, patch * grid + more
    fine = upsample_to_square(found, size, patch)
    known = F.interpolate(torch.from_numpy(found)[None, None], (side, side), mode="bilinear")
    assert fine.shape == (size, size)
    np.testing.assert_array_equal(fine[:side, :side], known[0, 0].numpy())
    assert (fine[side:] == fine[side - 1]).all()
    assert upsample_to_square(fine, size, patch) is fine
