"""Slices at their own resolution and depth, which a page loads as scripts.

A page that was opened from a file may run a script that lies beside it, but neither read a file
nor see the pixels of a picture.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import numpy as np

from medscan.archive import MAKER
from medscan.imaging import Packed
from medscan.report.study import KEY_SLICES
from medscan.results import StackResult, State
from medscan.text import printable

FullSlices = int | Literal["all", "flagged"]
"""Which slices of a stack are written so: a number, those with the highest scores; see
`full_slices`."""
MOST_FLAGGED = 32
"""Most slices of a stack that are written so for being flagged."""
_UNITS_LIMIT = 24


def full_slices(stack: StackResult, which: FullSlices) -> set[int]:
    """Indices of the slices of a stack that are written at their own resolution.

    "flagged": those that reach the threshold for a slice, up to `MOST_FLAGGED` with the highest
    scores, and in any case the `KEY_SLICES` highest.
    """
    if which == "all":
        return set(range(len(stack.state)))
    if which == "flagged":
        scores = stack.slice_score[stack.state == State.SCORED]
        reach = int(np.count_nonzero(scores >= stack.info["slice_threshold"]))
        return highest(stack, min(max(reach, KEY_SLICES), MOST_FLAGGED))
    return highest(stack, which)


def highest(stack: StackResult, most: int) -> set[int]:
    """Indices of the scored slices of a stack with the highest scores."""
    return set(stack.ranked()[:most])


def pixel_script(packed: Packed, source: str) -> bytes:
    """A script that hands a slice to the viewer that has loaded it.

    Parameters
    ----------
    packed : Packed
    source : str
        What it was read from; see `medscan.report.pictures.source_id`.
    """
    facts: dict[str, Any] = {
        name: getattr(packed, name)
        for name in ("rows", "columns", "channels", "width", "first", "step", "rounded")
    }
    facts |= {name: getattr(packed, name) for name in ("window", "header", "inverted")}
    facts["units"] = printable(packed.units, _UNITS_LIMIT)
    facts["data"] = base64.b64encode(packed.data).decode()
    return f"// {MAKER} {source}\nmedscanSlice({json.dumps(facts)});\n".encode()
