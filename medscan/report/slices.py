"""Slices of a stack as the script's viewer gets them, as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.report.colours import Scale
from medscan.report.placing import placing
from medscan.results import StackResult, State
from medscan.text import printable

Addresses = Mapping[int, str]
"""Addresses of a stack's pictures by slice index."""


def viewer_slices(
    stack: StackResult,
    scale: Scale | None,
    pictures: Addresses,
    full: Addresses,
    shown: Sequence[int],
) -> dict[str, Any]:
    """Slices of a viewer in their order, as lists by name of field.

    `maps` are the heatmaps as base64 of little-endian uint16 (k, G, G), 0 to 65535 from `low` to
    `high`; `scale` holds the patch scores at the ends of the colour scale and at its middle, the
    threshold for patches; `full` are addresses of scripts, see `pixel_script`.
    """
    low, high, maps = _pack(stack.heatmap[list(shown)])
    return {
        "stack": stack.key,
        "of": len(stack.state),
        "threshold": _finite(float(stack.info["slice_threshold"])),
        "numbers": [index + 1 for index in shown],
        "scores": [_finite(float(stack.slice_score[index])) for index in shown],
        "states": [State(stack.state[index]).name.lower() for index in shown],
        "files": [printable(_file(stack, index), 120) for index in shown],
        "pictures": [pictures.get(index, "") for index in shown],
        "full": [full.get(index, "") for index in shown],
        "place": placing(stack, shown),
        "scale": [scale.low, scale.middle, scale.high] if scale else None,
        "grid": stack.heatmap.shape[-1],
        "low": low,
        "high": high,
        "maps": maps if scale else "",
    }


def _file(stack: StackResult, slice_index: int) -> str:
    path, frame = stack.path[slice_index], int(stack.frame[slice_index])
    return f"{path}, frame {frame + 1}" if frame else path


def _pack(heatmaps: NDArray[np.float16]) -> tuple[float, float, str]:
    """Lowest and highest score, and the maps in 16-bit steps between them."""
    values = heatmaps.astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    steps = np.rint((values - low) / (high - low or 1) * 65535).astype("<u2")
    return low, high, base64.b64encode(steps.tobytes()).decode()


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
