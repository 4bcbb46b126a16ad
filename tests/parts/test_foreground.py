import numpy as np
import pytest
import torch
from scipy import ndimage

from medscan.parts import foreground

SIDE = 96


def picture(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Bright rectangles (top, left, bottom, right) on black, (1, 3, SIDE, SIDE)."""
    image = torch.zeros(1, 3, SIDE, SIDE)
    for top, left, bottom, right in boxes:
        image[..., top:bottom, left:right] = 0.6
    return image


def test_the_box_is_around_the_thickest_part_and_not_around_letters():
    head, letters, wedge = (24, 16, 80, 64), (2, 2, 6, 40), (16, 84, 88, 96)
    found = foreground.find_boxes(picture(head, letters, wedge))[0]
    wanted = torch.tensor([52 / SIDE, 40 / SIDE, 1.06 * 56 / SIDE])
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("image", [picture(), picture((0, 0, 2, SIDE))])
def test_an_image_without_foreground_is_shown_whole(image):
    assert foreground.find_boxes(image)[0].tolist() == [0.5, 0.5, 1.0]


def test_a_part_that_hangs_on_by_a_bridge_counts():
    two = picture((20, 8, 60, 40), (20, 60, 44, 88), (28, 40, 44, 60))
    cells = two[0, 0, 2::4, 2::4] > 0
    _, count = ndimage.label(cells.numpy(), np.ones((3, 3)))
    assert count == 1
    assert foreground.find_boxes(two)[0, 2].item() == pytest.approx(1.06 * 80 / SIDE)


def test_what_is_cropped_goes_back_to_its_place():
    image = picture((24, 16, 80, 64))
    image[..., 40:56, 24:40] = 1.0
    boxes = foreground.find_boxes(image)
    near = foreground.crop(image, boxes)
    assert near.shape == image.shape
    assert near[0, 0].mean() > image[0, 0].mean()
    grid = torch.nn.functional.avg_pool2d(near[:, :1], 8)[:, 0]
    back = foreground.put_back(grid, boxes, 1.0)
    rows, columns = np.nonzero((back[0] > 0.9).numpy())
    centre = (rows.mean() + 0.5) * 8, (columns.mean() + 0.5) * 8
    assert centre == pytest.approx((48, 32), abs=4)


def test_the_whole_image_is_its_own_crop():
    image = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    whole = torch.tensor([[0.5, 0.5, 1.0]]).expand(2, -1)
    assert torch.allclose(foreground.crop(image, whole), image, atol=1e-5)
    assert torch.allclose(foreground.put_back(image[:, 0], whole, 0.9), image[:, 0], atol=1e-4)
