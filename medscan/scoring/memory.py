"""Estimate how many slices fit into a device's memory, without loading a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medscan.clip import Bundle, read_header

FLOAT = 4
"""Bytes of a number; half precision takes less."""
STREAMS = 24
"""Arrays of tokens x width in memory at once: the residual, query, key and value, an MLP of four
times the width before and after its activation, four levels of features, and what a method computes
from them."""
ATTENTION = 2
"""Arrays of heads x tokens x tokens: scores and their softmax."""
HEAD = 64
"""Width of an attention head."""
USABLE = 0.8
"""Fraction of the free memory that the estimate uses."""
LARGEST = 1024
"""Largest batch size."""


@dataclass(frozen=True, slots=True)
class Tower:
    """Sizes that decide how much memory a vision transformer needs.

    Parameters
    ----------
    tokens, width : int
        Tokens of a slice, and their width.
    weights : int
        Bytes of all weights in single precision.
    """

    tokens: int
    width: int
    weights: int

    @property
    def slice_bytes(self) -> int:
        """Bytes that scoring one slice needs."""
        heads = max(1, self.width // HEAD)
        numbers = STREAMS * self.tokens * self.width + ATTENTION * heads * self.tokens**2
        return FLOAT * numbers


def tower_of(bundle: Bundle, size: int | None = None) -> Tower | None:
    """Return the tower of a backbone, read from the header of its weights; None if unknown.

    Parameters
    ----------
    bundle : Bundle
    size : int or None
        Side of the square that a detector runs it on, pixels; None: the backbone's own.
    """
    shapes = read_header(bundle.weights).shapes
    positions = next((s for n, s in shapes.items() if _holds_positions(n)), None)
    if positions is None:
        return None
    tokens, width = positions[-2:]
    own_size = bundle.config["model_cfg"]["vision_cfg"].get("image_size")
    if size and isinstance(own_size, int):
        tokens = math.ceil(tokens * (size / own_size) ** 2)
    return Tower(tokens, width, FLOAT * sum(math.prod(shape) for shape in shapes.values()))


def _holds_positions(name: str) -> bool:
    """Whether a tensor holds the position embedding of each token."""
    return name in ("visual.positional_embedding", "visual.trunk.pos_embed")


def batch_for(free_bytes: int, tower: Tower, lanes: int = 1) -> int:
    """Return how many slices per batch fit into a device's free memory: a power of two, or 0.

    Parameters
    ----------
    free_bytes : int
    tower : Tower
    lanes : int
        Batches computed side by side; see `medscan.scoring.lanes`.
    """
    left = USABLE * free_bytes - tower.weights
    count = int(left // (lanes * tower.slice_bytes))
    return 0 if count < 1 else min(LARGEST, 1 << (count.bit_length() - 1))
