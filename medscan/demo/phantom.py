"""A head as in FLAIR MRI, drawn from smooth noise, with one bright lesion.

It has a bright scalp, a dark skull, grey tissue with sulci along the cortex, a fissure between the
halves, and dark ventricles. Distances are in millimetres from the middle of the stack: x to the
patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Volume = NDArray[np.floating[Any]]

SHAPE = (176, 208, 24)
"""Voxels along x, y and z."""
SPACING = (1.0, 1.0, 4.5)
"""Distance between voxels along x, y and z, millimetres."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """A head with a lesion.

    Parameters
    ----------
    voxels : uint16 (x, y, z)
        Signal, about 1000 at its brightest.
    lesion : bool (x, y, z)
        Voxels of the lesion.
    """

    voxels: NDArray[np.uint16]
    lesion: NDArray[np.bool_]

    def where(self) -> str:
        """Location of the lesion in words; slices are counted from 1, upwards."""
        x, _, z = (np.flatnonzero(self.lesion.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
        side = "left" if x.mean() > (SHAPE[0] - 1) / 2 else "right"
        return f"the {side} half, slices {z[0] + 1} to {z[-1] + 1} of {SHAPE[2]}"


@dataclass(frozen=True, slots=True)
class _Head:
    """Coordinates of each voxel and its depth below the skin, in millimetres; a source of noise."""

    rng: np.random.Generator
    x: Volume
    y: Volume
    z: Volume
    depth: Volume

    def noise(self, scale: float) -> Volume:
        """Smooth noise of standard deviation 1 that changes over about `scale` millimetres."""
        sigma = tuple(scale / step for step in SPACING)
        smooth = gaussian_filter(self.rng.standard_normal(SHAPE, np.float32), sigma, mode="wrap")
        return np.asarray(smooth / smooth.std(), np.float32)


def draw_head(seed: int) -> Phantom:
    """Draw a head.

    Parameters
    ----------
    seed : int
        Determines its size and texture, and the place and size of its lesion.
    """
    head = _make_head(np.random.default_rng(seed))
    rng = head.rng
    fluid = _fluid(head)
    lesion = _lesion(head) * (1 - fluid["ventricles"])
    cortex = 0.10 * _below(14 + 3 * head.noise(9) - head.depth, 2.0)
    tissue = rng.uniform(0.36, 0.46) * (1 - cortex) * (1 + 0.025 * head.noise(1.2))
    tissue = tissue * (1 + 0.03 * head.noise(14))
    tissue = tissue * (1 - 0.75 * np.maximum.reduce(list(fluid.values())))
    glow = rng.uniform(0.72, 0.9) * (1 + 0.06 * head.noise(4))
    tissue = tissue + (glow - tissue) * lesion * (1 - 0.5 * fluid["sulci"])
    image = _with_skull(head, tissue)
    image = gaussian_filter(image, (0.5, 0.5, 0))
    noisy = np.abs(image + 0.02 * rng.standard_normal(SHAPE, np.float32))
    return Phantom((1000 * noisy).astype(np.uint16), lesion > 0.5)


def _make_head(rng: np.random.Generator) -> _Head:
    """Shape a head like an egg, narrower in front, from the brain's base to below the vertex."""
    middles = [np.float32((n - 1) / 2 * step) for n, step in zip(SHAPE, SPACING, strict=True)]
    steps = [
        np.arange(n, dtype=np.float32) * np.float32(s) for n, s in zip(SHAPE, SPACING, strict=True)
    ]
    x, y, z = np.meshgrid(*(s - m for s, m in zip(steps, middles, strict=True)), indexing="ij")
    half = np.asarray([66.0, 84.0, 78.0], np.float32) * rng.uniform(0.95, 1.05, 3).astype(
        np.float32
    )
    half_width = half[0] * (1 + 0.1 * y / half[1])
    radius = np.sqrt((x / half_width) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2)
    head = _Head(rng, x, y, z, radius)
    return _Head(rng, x, y, z, 70 * (1 - radius - 0.008 * head.noise(22)))


def _below(distance: Volume, width: float) -> Volume:
    """1 for negative distances, 0 for positive ones, with a soft edge of this width."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance / width, -40, 40))), np.float32)


def _fluid(head: _Head) -> dict[str, Volume]:
    """Share of fluid in each voxel by structure, 0 to 1; fluid is dark in FLAIR."""
    between = np.maximum(_below(30 - np.abs(head.y), 4), _below(28 - head.z, 3))
    return {
        "sulci": 0.8 * _sulci(head),
        "fissure": 0.85 * between * _below(np.abs(head.x + 0.7 * head.noise(7)) - 0.9, 0.5),
        "ventricles": _ventricles(head),
        "rim": 0.6 * _below(head.depth - 13, 0.8),
    }


def _sulci(head: _Head) -> Volume:
    """Lines near the cortex, drawn where smooth noise is zero."""
    noise = head.noise(8.5)
    along_x, along_y = (np.gradient(noise, axis=axis) for axis in (0, 1))
    distance = np.abs(noise) / np.sqrt(along_x**2 + along_y**2 + 0.02**2)
    near = _below(head.depth - 24 + 3 * head.noise(10), 1.5)
    return near * _below(distance - 0.7, 0.45)


def _ventricles(head: _Head) -> Volume:
    """Two crescents, one on each side of the middle."""
    width, offset = head.rng.uniform(3.5, 6), head.rng.uniform(7, 10)
    level = ((head.y - 2) / 30) ** 2 + ((head.z - 4) / 16) ** 2
    bent = offset + 0.0035 * head.y**2
    both = [((head.x - side * bent) / width) ** 2 + level for side in (-1, 1)]
    return _below(np.sqrt(np.minimum(*both)) - 1, 0.1)


def _lesion(head: _Head) -> Volume:
    """A ball with an uneven, soft edge, in one half of the brain."""
    rng = head.rng
    centre = (
        rng.choice([-1.0, 1.0]) * rng.uniform(26, 34),
        rng.uniform(-38, 34),
        rng.uniform(-25, 20),
    )
    radius = rng.uniform(17, 24)
    squares = [(c - m) ** 2 for c, m in zip((head.x, head.y, head.z), centre, strict=True)]
    distance = np.sqrt(np.sum(squares, axis=0)) + 2.5 * head.noise(6)
    return _below(distance - radius, 1.3) * _below(12.5 - head.depth, 1.0)


def _with_skull(head: _Head, tissue: Volume) -> Volume:
    """Put tissue into a dark skull and a bright scalp."""
    scalp = head.rng.uniform(0.85, 1.0) * (1 + 0.08 * head.noise(4))
    brain, bone, skin = (_below(edge - head.depth, 0.8) for edge in (11, 5.5, 0))
    image = skin * ((1 - bone) * scalp + bone * ((1 - brain) * 0.05 + brain * tissue))
    return np.asarray(image, np.float32)
