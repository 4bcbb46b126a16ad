"""How many slices a device has room for at a time: an estimate, made without loading a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medscan.clip import Bundle, read_header

FLOAT = 4
"""Bytes of a number; half precision takes less."""
STREAMS = 24
"""Arrays of tokens x width that are there at once: the residual, query, key and value, an MLP of
four times the width before and after its activation, four levels that are kept, and what a method
makes of them."""
ATTENTION = 2
"""Arrays of heads x tokens x tokens: scores and their softmax."""
HEAD = 64
SHARE = 0.8
"""Of the free memory that is counted on."""
LARGEST = 1024


@dataclass(frozen=True, slots=True)
class Tower:
    """What decides the memory that a vision transformer takes.

    Parameters
    ----------
    tokens, width : int
        Of a slice.
    weights : int
        Bytes of all weights in single precision.
    """

    tokens: int
    width: int
    weights: int

    @property
    def slice_bytes(self) -> int:
        """Bytes that a slice takes on its way through."""
        heads = max(1, self.width // HEAD)
        numbers = STREAMS * self.tokens * self.width + ATTENTION * heads * self.tokens**2
        return FLOAT * numbers


def tower_of(bundle: Bundle, size: int | None = None) -> Tower | None:
    """The tower of a backbone, from the header of its weights; None where that does not tell.

    Parameters
    ----------
    bundle : Bundle
    size : int or None
        Side of the square that a detector runs it on, pixels; None: its own.
    """
    shapes = read_header(bundle.weights).shapes
    table = next((s for n, s in shapes.items() if _places_tokens(n)), None)
    if table is None:
        return None
    tokens, width = table[-2:]
    own = bundle.config["model_cfg"]["vision_cfg"].get("image_size")
    if size and isinstance(own, int):
        tokens = math.ceil(tokens * (size / own) ** 2)
    return Tower(tokens, width, FLOAT * sum(math.prod(shape) for shape in shapes.values()))


def _places_tokens(name: str) -> bool:
    """Whether a tensor holds a position for each token of a picture."""
    return name in ("visual.positional_embedding", "visual.trunk.pos_embed")


def batch_for(free_bytes: int, tower: Tower, lanes: int = 1) -> int:
    """Slices a batch that fit into a device's free memory, a power of two; 0 for none.

    Parameters
    ----------
    free_bytes : int
    tower : Tower
    lanes : int
        Batches that are computed side by side, see `medscan.scoring.lanes`.
    """
    left = SHARE * free_bytes - tower.weights
    count = int(left // (lanes * tower.slice_bytes))
    return 0 if count < 1 else min(LARGEST, 1 << (count.bit_length() - 1))
