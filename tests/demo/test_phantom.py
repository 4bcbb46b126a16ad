import numpy as np
import pytest
from scipy import ndimage

from medscan.demo import draw_head
from medscan.demo.phantom import SHAPE


def test_a_seed_gives_the_same_head_and_another_gives_another():
    first, again, other = draw_head(3), draw_head(3), draw_head(4)
    assert np.array_equal(first.voxels, again.voxels)
    assert np.array_equal(first.lesion, again.lesion)
    assert not np.array_equal(first.lesion, other.lesion)


@pytest.mark.parametrize("seed", range(4))
def test_there_is_one_bright_lesion_inside_the_brain(seed):
    head = draw_head(seed)
    assert head.voxels.shape == head.lesion.shape == SHAPE
    sizes = np.sort(np.bincount(ndimage.label(head.lesion)[0].ravel())[1:])
    assert sizes[-1] > 1000
    assert sizes[:-1].sum() < 0.02 * sizes[-1]  # crumbs of its uneven edge
    near = ndimage.binary_dilation(head.lesion, iterations=8) & ~head.lesion
    tissue = near & (head.voxels > 200)
    assert np.median(head.voxels[head.lesion]) > 1.4 * np.median(head.voxels[tissue])


def test_words_for_its_place_agree_with_the_mask():
    head = draw_head(0)
    # Written with columns towards the patient's left: larger x is further left.
    left = head.lesion[SHAPE[0] // 2 :].sum() > head.lesion[: SHAPE[0] // 2].sum()
    first, last = np.flatnonzero(head.lesion.any((0, 1)))[[0, -1]] + 1
    half = "left" if left else "right"
    assert head.where() == f"the {half} half, slices {first} to {last} of {SHAPE[2]}"
