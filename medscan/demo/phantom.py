"""A head as FLAIR MRI shows it, drawn from smooth noise, with one bright lesion.

A bright scalp, a dark skull, grey tissue with sulci along the cortex, a fissure between the halves,
dark ventricles. Distances are in millimetres from the middle of the stack: x to the patient's left,
y to the back, z to the head.
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
"""Millimetres from voxel to voxel."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """A head with a lesion.

    Parameters
    ----------
    voxels : uint16 (x, y, z)
        Signal, about 1000 at its brightest.
    lesion : bool (x, y, z)
    """

    voxels: NDArray[np.uint16]
    lesion: NDArray[np.bool_]

    def where(self) -> str:
        """Words for the place of the lesion; slices are counted from 1, upwards."""
        x, _, z = (np.flatnonzero(self.lesion.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
        side = "left" if x.mean() > (SHAPE[0] - 1) / 2 else "right"
        return f"the {side} half, slices {z[0] + 1} to {z[-1] + 1} of {SHAPE[2]}"


@dataclass(frozen=True, slots=True)
class _Head:
    """Where a point lies: coordinates, and depth below the skin, in millimetres."""

    rng: np.random.Generator
    x: Volume
    y: Volume
    z: Volume
    depth: Volume

    def noise(self, scale: float) -> Volume:
        """Noise of deviation 1 that changes over about so many millimetres."""
        sigma = tuple(scale / step for step in SPACING)
        found = gaussian_filter(self.rng.standard_normal(SHAPE, np.float32), sigma, mode="wrap")
        return np.asarray(found / found.std(), np.float32)


def draw_head(seed: int) -> Phantom:
    """Draw a head.

    Parameters
    ----------
    seed : int
        Decides its size, its texture, and where its lesion is and how large.
    """
    head = _place(np.random.default_rng(seed))
    rng = head.rng
    dark = _dark(head)
    lesion = _lesion(head) * (1 - dark["ventricles"])
    cortex = 0.10 * _below(14 + 3 * head.noise(9) - head.depth, 2.0)
    tissue = rng.uniform(0.36, 0.46) * (1 - cortex) * (1 + 0.025 * head.noise(1.2))
    tissue = tissue * (1 + 0.03 * head.noise(14))
    tissue = tissue * (1 - 0.75 * np.maximum.reduce(list(dark.values())))
    glow = rng.uniform(0.72, 0.9) * (1 + 0.06 * head.noise(4))
    tissue = tissue + (glow - tissue) * lesion * (1 - 0.5 * dark["sulci"])
    image = _wrapped(head, tissue)
    image = gaussian_filter(image, (0.5, 0.5, 0))
    noisy = np.abs(image + 0.02 * rng.standard_normal(SHAPE, np.float32))
    return Phantom((1000 * noisy).astype(np.uint16), lesion > 0.5)


def _place(rng: np.random.Generator) -> _Head:
    """An egg, narrower in front, cut from the base of the brain to below the vertex."""
    middles = [np.float32((n - 1) / 2 * step) for n, step in zip(SHAPE, SPACING, strict=True)]
    steps = [
        np.arange(n, dtype=np.float32) * np.float32(s) for n, s in zip(SHAPE, SPACING, strict=True)
    ]
    x, y, z = np.meshgrid(*(s - m for s, m in zip(steps, middles, strict=True)), indexing="ij")
    half = np.asarray([66.0, 84.0, 78.0], np.float32) * rng.uniform(0.95, 1.05, 3).astype(
        np.float32
    )
    wide = half[0] * (1 + 0.1 * y / half[1])
    away = np.sqrt((x / wide) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2)
    head = _Head(rng, x, y, z, away)
    return _Head(rng, x, y, z, 70 * (1 - away - 0.008 * head.noise(22)))


def _below(distance: Volume, width: float) -> Volume:
    """1 where the distance is negative, 0 where it is positive, with an edge of that width."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance / width, -40, 40))), np.float32)


def _dark(head: _Head) -> dict[str, Volume]:
    """Where fluid is, 0 to 1: FLAIR shows it dark."""
    between = np.maximum(_below(30 - np.abs(head.y), 4), _below(28 - head.z, 3))
    return {
        "sulci": 0.8 * _sulci(head),
        "fissure": 0.85 * between * _below(np.abs(head.x + 0.7 * head.noise(7)) - 0.9, 0.5),
        "ventricles": _ventricles(head),
        "rim": 0.6 * _below(head.depth - 13, 0.8),
    }


def _sulci(head: _Head) -> Volume:
    """Lines where smooth noise is zero, near the cortex."""
    noise = head.noise(8.5)
    along_x, along_y = (np.gradient(noise, axis=axis) for axis in (0, 1))
    away = np.abs(noise) / np.sqrt(along_x**2 + along_y**2 + 0.02**2)
    near = _below(head.depth - 24 + 3 * head.noise(10), 1.5)
    return near * _below(away - 0.7, 0.45)


def _ventricles(head: _Head) -> Volume:
    """Two crescents beside the middle."""
    wide, apart = head.rng.uniform(3.5, 6), head.rng.uniform(7, 10)
    level = ((head.y - 2) / 30) ** 2 + ((head.z - 4) / 16) ** 2
    bent = apart + 0.0035 * head.y**2
    both = [((head.x - side * bent) / wide) ** 2 + level for side in (-1, 1)]
    return _below(np.sqrt(np.minimum(*both)) - 1, 0.1)


def _lesion(head: _Head) -> Volume:
    """A ball with an uneven, soft edge, in one half of the brain."""
    rng = head.rng
    middle = (
        rng.choice([-1.0, 1.0]) * rng.uniform(26, 34),
        rng.uniform(-38, 34),
        rng.uniform(-25, 20),
    )
    radius = rng.uniform(17, 24)
    squares = [(c - m) ** 2 for c, m in zip((head.x, head.y, head.z), middle, strict=True)]
    away = np.sqrt(np.sum(squares, axis=0)) + 2.5 * head.noise(6)
    return _below(away - radius, 1.3) * _below(12.5 - head.depth, 1.0)


def _wrapped(head: _Head, tissue: Volume) -> Volume:
    """Tissue in a dark skull in a bright scalp."""
    scalp = head.rng.uniform(0.85, 1.0) * (1 + 0.08 * head.noise(4))
    brain, bone, skin = (_below(edge - head.depth, 0.8) for edge in (11, 5.5, 0))
    image = skin * ((1 - bone) * scalp + bone * ((1 - brain) * 0.05 + brain * tissue))
    return np.asarray(image, np.float32)
