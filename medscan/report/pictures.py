"""Pictures of the worklist: slices as JPEG, scores along slices as paths of an SVG."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import ExifTags, Image

from medscan.archive import MAKER
from medscan.results import StackResult

_QUALITY = 88
_PAD = 4.0
MOST_POINTS = 66
"""Points of a small profile; of longer stacks it shows the highest score of every few slices."""


def jpeg(image: NDArray[np.uint8], side: int | None = None, source: str = "") -> bytes:
    """Encode an image (H, W, 1) or (H, W, 3) as a marked JPEG.

    Parameters
    ----------
    image : uint8 (H, W, 1) or (H, W, 3)
    side : int, optional
        Largest width in pixels.
    source : str
        What the picture was drawn from; see `source_id`.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    if side and side < picture.width:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, subsampling=0, exif=medscan_exif(source))
    return stream.getvalue()


def medscan_exif(source: str = "") -> Image.Exif:
    """EXIF data that mark a picture as medscan's own, so that a scan skips it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = MAKER
    if source:
        exif[ExifTags.Base.ImageDescription] = source
    return exif


def source_id(stack: StackResult, window: str = "") -> str:
    """Return 32 hexadecimal digits that change when a stack is scanned again with another result.

    A picture that carries them was drawn from the files that the result is about, by a window rule
    that is not its detector's if one is given.
    """
    facts = [stack.key, stack.info["detector"], stack.path, stack.frame.tolist()]
    digest = hashlib.sha256(json.dumps([*facts, stack.sop_instance_uid]).encode())
    digest.update(window.encode())
    digest.update(stack.slice_score.astype("<f4").tobytes())
    return digest.hexdigest()[:32]


def data_uri(picture: bytes) -> Markup:
    """Encode a JPEG as a data URI."""
    return Markup("data:image/jpeg;base64," + base64.b64encode(picture).decode())  # noqa: S704


@dataclass(frozen=True, slots=True)
class Profile:
    """Scores along the slices of a stack, as paths of an SVG.

    Parameters
    ----------
    width, height : int
        Size of its view box.
    line : Markup
        Path along all scored slices.
    hot : Markup
        Path with a dot for each slice that reaches the threshold.
    limit : Markup
        Path of the threshold; empty without one.
    words : str
        Description of the drawing, for those who cannot see it.
    """

    width: int
    height: int
    line: Markup
    hot: Markup
    limit: Markup
    words: str


def profile(
    scores: NDArray[np.float32],
    threshold: float,
    low: float,
    size: tuple[int, int],
    most: int | None = None,
) -> Profile:
    """Draw scores along slices.

    In every profile of a detector the threshold lies at half height and `low`, the median of its
    normals, at the bottom, so that heights compare between studies. Slices without a score leave
    gaps.

    Parameters
    ----------
    scores : float32 (n,)
        NaN for slices without a score.
    threshold, low : float
        Slice scores, `low` below the threshold; NaN for a threshold that is not set.
    size : (int, int)
        Width and height.
    most : int, optional
        Largest number of points to draw.
    """
    width, height = size
    shown = _thin(scores.astype(np.float64), most)
    count = len(shown)
    x = np.linspace(_PAD, width - _PAD, count) if count > 1 else np.array([width / 2])
    top = 2 * threshold - low if threshold > low else np.nanmax(shown, initial=low + 1e-6)
    share = np.clip((shown - low) / (top - low), 0, 1)
    y = height - _PAD - share * (height - 2 * _PAD)
    over = shown >= threshold  # False for NaN on either side
    hot = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x[over], y[over], strict=True))
    return Profile(
        width,
        height,
        Markup(_line(x, y)),  # noqa: S704
        Markup(hot),  # noqa: S704
        Markup(f"M0 {height / 2:g}H{width}" if threshold > low else ""),  # noqa: S704
        _words(scores, threshold),
    )


def _thin(scores: NDArray[np.float64], most: int | None) -> NDArray[np.float64]:
    """Reduce to at most `most` scores, each the highest of a few neighbours."""
    if most is None or len(scores) <= most:
        return scores
    first = np.arange(most) * len(scores) // most
    return np.asarray(np.fmax.reduceat(scores, first))


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """A path through the points whose `y` is not NaN; a point without neighbours is a dot."""
    parts, drawing = [], False
    for a, b, scored in zip(x, y, ~np.isnan(y), strict=True):
        if scored:
            # "h0" draws a dot, which is all that is seen of a lone point.
            parts.append(f"{a:.1f} {b:.1f}" if drawing else f"M{a:.1f} {b:.1f}h0L{a:.1f} {b:.1f}")
        drawing = bool(scored)
    return " ".join(parts)


def _words(scores: NDArray[np.float32], threshold: float) -> str:
    scored = int(np.isfinite(scores).sum())
    if not scored:
        return "No slice was scored."
    highest = f"slice {int(np.nanargmax(scores)) + 1} with {np.nanmax(scores):.3f}"
    if np.isnan(threshold):
        return f"{scored} scored slices; the highest is {highest}."
    over = int((scores >= threshold).sum())
    reach = f"{over} of {scored} scored slices reach the slice threshold of {threshold:.3f}"
    return f"{reach}; the highest is {highest}."
