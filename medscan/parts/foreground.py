"""The square around what an image shows, so that a head that fills half the frame fills all of it.

A box (B, 3) is the centre's row and column and the side of a square, as parts of the image's side.
Every step is a fixed number of poolings: it can be exported as a graph, and no image's box depends
on another's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DARK = 0.12
"""Grey level from 0 to 1 up to which a cell is background."""
CELL = 4
"""Side in pixels of the cells that the foreground is found by."""
MARGIN = 1.06
"""Side of the square, in units of the larger extent of the foreground."""


def find_boxes(images: Tensor) -> Tensor:
    """Boxes (B, 3) around the foreground of images (B, 3, S, S) in [0, 1].

    The foreground is the connected part with the thickest place, after an opening that removes
    letters and lines. An image that is dark all over is its own foreground.
    """
    cells = F.avg_pool2d(images.float().mean(1, keepdim=True), CELL)
    opened = _dilated(_eroded((cells > DARK).float()))
    region = _main_part(opened).squeeze(1)
    top, bottom = _ends(region.amax(2))
    left, right = _ends(region.amax(1))
    side = MARGIN * torch.maximum(bottom - top, right - left)
    boxes = torch.stack([(top + bottom) / 2, (left + right) / 2, side], 1)
    whole = boxes.new_tensor([0.5, 0.5, 1.0])
    return torch.where(region.amax((1, 2))[:, None] > 0, boxes, whole)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Show only the boxes (B, 3) of images (B, C, S, S), enlarged to (B, C, S, S); black beyond."""
    centres, sides, points = _laid_out(boxes, images.shape[-1])
    grid = _grid(centres + sides * (points - 0.5))
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def put_back(maps: Tensor, boxes: Tensor, seen: float) -> Tensor:
    """Maps (B, G, G) of cropped images, on the grid of the whole ones.

    Beyond a box the map is that of its border.

    Parameters
    ----------
    maps : Tensor (B, G, G)
    boxes : Tensor (B, 3)
        Of the crops.
    seen : float
        Part of an image's side that the grid covers: a patch may not divide it.
    """
    centres, sides, points = _laid_out(boxes, maps.shape[-1])
    grid = _grid(((points * seen - centres) / sides + 0.5) / seen)
    return F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def _laid_out(boxes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (B, 1, 2 n) and sides (B, 1, 1) of boxes (B, 3), and middles of cells (n, 2 n).

    Column and row of a cell stand side by side, as in points of grid_sample, but in one long axis:
    OpenVINO computes with two numbers at a time no faster than with one.
    """
    places = (torch.arange(count, device=boxes.device) + 0.5) / count
    points = torch.stack([places.expand(count, -1), places[:, None].expand(-1, count)], -1)
    return boxes[:, None, [1, 0]].repeat(1, 1, count), boxes[:, None, 2:], points.flatten(1)


def _grid(points: Tensor) -> Tensor:
    """Points (B, n, 2 n), as parts of the side -> those of grid_sample (B, n, n, 2)."""
    count = points.shape[1]
    return (2 * points - 1).view(-1, count, count, 2)


def _dilated(mask: Tensor) -> Tensor:
    return F.max_pool2d(mask, 3, 1, 1)


def _eroded(mask: Tensor) -> Tensor:
    return -F.max_pool2d(-mask, 3, 1, 1)


def _main_part(mask: Tensor) -> Tensor:
    """What of each mask (B, 1, h, w) hangs together with its thickest place.

    Parts that are less than two cells apart count as one: the steps are on a grid half as fine.
    """
    coarse = F.max_pool2d(mask, 2, ceil_mode=True)
    part = _connected(coarse, _thickest(coarse))
    fine = part.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return mask * fine[..., : mask.shape[2], : mask.shape[3]]


def _thickest(mask: Tensor) -> Tensor:
    """The cell of each mask (B, 1, h, w) that outlasts the others when it is eroded."""
    depth, left = mask, mask
    for _ in range(max(mask.shape[-2:]) // 2):
        left = _eroded(left)
        depth = depth + left
    flat = depth.flatten(1)
    cells = torch.arange(flat.shape[1], device=mask.device)
    return (cells == flat.argmax(1, keepdim=True)).to(mask).view_as(mask) * mask


def _connected(mask: Tensor, seed: Tensor) -> Tensor:
    """The part of each mask (B, 1, h, w) that hangs together with its seed."""
    for _ in range(max(mask.shape[-2:])):
        seed = _dilated(seed) * mask
    return seed


def _ends(line: Tensor) -> tuple[Tensor, Tensor]:
    """Where ones begin and end in lines (B, n), as parts of their length."""
    count = line.shape[1]
    return line.argmax(1) / count, 1 - line.flip(1).argmax(1) / count
