"""Pictures of the worklist: thumbnails as data URIs, scores along slices as SVG."""

from __future__ import annotations

import base64
import io
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

_QUALITY = 88


def data_uri(image: NDArray[np.uint8], side: int | None = None) -> Markup:
    """An image (H, W, 1) or (H, W, 3) as a JPEG in a data URI, at most `side` pixels wide."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    if side and side < picture.width:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return Markup("data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode())  # noqa: S704


def profile(
    scores: NDArray[np.float32], threshold: float, low: float, size: tuple[int, int]
) -> Markup:
    """Scores along the slices of a stack as an SVG of width x height pixels.

    The threshold lies at half height and `low`, the median of normals, at the bottom, in every
    study: heights compare. Slices that were not scored leave gaps.

    Parameters
    ----------
    scores : float32 (n,)
        NaN where not scored.
    threshold, low : float
        On the scale of slice scores, `low` below the threshold; NaN threshold: none was set.
    size : (int, int)
        Width and height.
    """
    width, height = size
    pad = 3.0
    x = np.linspace(pad, width - pad, len(scores)) if len(scores) > 1 else np.array([width / 2])
    top = 2 * threshold - low if threshold > low else np.nanmax(scores, initial=low + 1e-6)
    share = np.clip((scores.astype(np.float64) - low) / (top - low), 0, 1)
    y = height - pad - share * (height - 2 * pad)
    dots = [
        f'<circle class="{"hot" if score >= threshold else "cold"}" cx="{a:.1f}" cy="{b:.1f}"'
        f' r="{2.2 if score >= threshold else 1}"/>'
        for score, a, b in zip(scores, x, y, strict=True)
        if not np.isnan(score)
    ]
    limit = f'<path class="limit" d="M0 {height / 2}H{width}"/>' if threshold > low else ""
    lines = "".join(
        f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"
        for (a, b), (c, d) in pairwise(zip(x, y, strict=True))
        if not (np.isnan(b) or np.isnan(d))
    )
    return Markup(  # noqa: S704
        f'<svg class="profile" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img"><title>{_words(scores, threshold)}</title>'
        f'{limit}<path class="line" d="{lines}"/>{"".join(dots)}</svg>'
    )


def _words(scores: NDArray[np.float32], threshold: float) -> str:
    """What the drawing shows, for those who cannot see it."""
    scored = int(np.isfinite(scores).sum())
    if not scored:
        return "No slice was scored."
    highest = f"slice {int(np.nanargmax(scores)) + 1} with {np.nanmax(scores):.3f}"
    if np.isnan(threshold):
        return f"{scored} scored slices; the highest is {highest}."
    over = int((scores >= threshold).sum())
    return f"{over} of {scored} scored slices reach {threshold:.3f}; the highest is {highest}."
