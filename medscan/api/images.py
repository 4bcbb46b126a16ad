"""What a detector in memory is given to score: a path or an array -> one stack of slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medscan.archive import (
    REASONS,
    ArchiveFile,
    Bucket,
    Frame,
    Kind,
    Outcome,
    Pseudonyms,
    Reason,
    Series,
    Stack,
)
from medscan.choices import Bounds
from medscan.decoding import PixelPlane
from medscan.detector import Detector
from medscan.errors import FileError, MedscanError, UsageError
from medscan.imaging import Letterbox, Slice, measure_planes, render_plane
from medscan.options import Inputs
from medscan.planning import Task, survey_archive

CLEAR = Pseudonyms(b"", identify=True, hash_paths=False)
"""What is scored in memory stays there: nothing of it is hidden."""
_NOWHERE = ArchiveFile("", Path(), 0, 0)
_COLOURS = (3, 4)
"""Lengths of an axis that may hold colours."""


# --- paths --------------------------------------------------------------------------------------


class Found(NamedTuple):
    """A stack of a study, and why files beside it could not be used, by path."""

    task: Task
    series: Series
    stack: Stack
    failures: dict[str, str]


def find_stack(path: Path, detector: tuple[Path, Detector], key: str | None, workers: int) -> Found:
    """Find the stack of a file or folder that a detector is for, as a scan of it does.

    Parameters
    ----------
    path : Path
    detector : (Path, Detector)
    key : str or None
        Key of the stack, where there are several.
    workers : int

    Raises
    ------
    UsageError
        If there is none, or more than one.
    FileError
        If the only file cannot be used.
    """
    inputs = Inputs((path,), (detector,), named=True)
    inputs.check()
    survey = survey_archive(inputs, CLEAR, "", workers=workers)
    stacks = [(task, series, stack) for task in survey.plan for series, stack, _ in task.stacks]
    found = [entry for entry in stacks if key in (None, entry[2].key)]
    name = detector[1].name
    if len(found) == 1:
        aside = (o for o in survey.catalogue.set_aside if o.bucket is Bucket.FAILED)
        return Found(*found[0], {o.file.path: f"{o.reason}: {o.detail}" for o in aside})
    if stacks:
        keys = ", ".join(stack.key for _, _, stack in stacks[:10])
        raise UsageError(
            f"{path} holds {len(stacks)} stacks of slices for {name}: choose one with stack=, or "
            f"score all with medscan.scan; their keys: {keys}"
        )
    raise _nothing_found(path, survey.plan, survey.catalogue.set_aside)


def _nothing_found(path: Path, plan: Sequence[Task], aside: Sequence[Outcome]) -> MedscanError:
    """Say why a path holds nothing that can be scored."""
    for task in plan:
        for _, _, route in task.out_of_scope:
            return UsageError(f"{path}: {'; '.join(route.sentences())}")
    if len(aside) == 1:
        (outcome,) = aside
        why = ": ".join(filter(None, (REASONS[outcome.reason][1], outcome.detail)))
        return _error_of(outcome.reason)(f"{path}: {why}")
    counts = Counter(str(outcome.reason) for outcome in aside)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return UsageError(f"{path} holds no image that can be scored; its files: {listed or 'none'}")


def _error_of(reason: Reason) -> type[MedscanError]:
    """The error of a file that failed for a reason; UsageError where it is no failure."""
    errors: dict[str, type[MedscanError]] = {}
    kinds: list[type[FileError]] = [FileError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        errors.setdefault(kind.reason, kind)
    return errors.get(reason, UsageError)


# --- arrays -------------------------------------------------------------------------------------


def read_planes(array: ArrayLike, axes: str | None) -> tuple[list[PixelPlane], bool]:
    """Planes of an array, and whether they are a picture of 8 bits; see `Detector.score`.

    Raises
    ------
    UsageError
        If it is no image, or its axes may be meant in several ways.
    """
    try:
        values = np.asarray(array)
    except (TypeError, ValueError) as error:
        raise UsageError(f"an image is a path or an array of numbers: {error}") from error
    if values.dtype.kind not in "iuf":
        raise UsageError(f"an image of {values.dtype}: its values must be whole or real numbers")
    values = _in_order(values, axes)
    least = Bounds().side
    if not len(values) or min(values.shape[1:3]) < least:
        raise UsageError(
            f"an image of shape {np.shape(array)}: one slice of {least} x {least} pixels at least"
        )
    picture = values.dtype == np.uint8
    if values.shape[3] == 1:
        return [_plane(value[..., 0], picture=picture) for value in values], picture
    if not picture:
        raise UsageError(f"a colour image of {values.dtype}: give it as uint8, 0 to 255")
    return [PixelPlane(value.astype(np.float32), white=255.0) for value in values], picture


def _in_order(values: NDArray[Any], axes: str | None) -> NDArray[Any]:
    """The same values as (N, H, W, C), with C = 1 or 3."""
    axes = _guessed(values.shape) if axes is None else axes.upper()
    fits = len(axes) == values.ndim and len(set(axes)) == len(axes)
    if not (fits and set("HW") <= set(axes) <= set("NHWC")):
        raise UsageError(
            f"axes={axes!r} for an image of shape {values.shape}: a letter for each axis, H and W "
            "for rows and columns, N for slices and C for colours, such as NHW"
        )
    order = [axes.index(letter) for letter in "NHWC" if letter in axes]
    missing = tuple(place for place, letter in enumerate("NHWC") if letter not in axes)
    ordered = np.expand_dims(values.transpose(order), missing)
    if ordered.shape[3] not in (1, 3):
        raise UsageError(f"an image with {ordered.shape[3]} colours: 1, or 3 for red, green, blue")
    return ordered


def _guessed(shape: tuple[int, ...]) -> str:
    """Axes of a shape that can be meant in one way only."""
    grey = len(shape) == 2 or (len(shape) == 3 and not {shape[0], shape[2]} & {*_COLOURS})
    if grey:
        return "NHW"[-len(shape) :]
    raise UsageError(
        f"an image of shape {shape}: say what its axes are, such as axes='NHW' for slices, rows "
        "and columns, 'HWC' for a colour picture, or 'NCHW'"
    )


def _plane(values: NDArray[Any], *, picture: bool) -> PixelPlane:
    """A grey plane; NaN and infinite pixels take its smallest finite value, as in a volume."""
    with np.errstate(over="ignore"):
        pixels = values.astype(np.float32)
    finite = np.isfinite(pixels)
    if not finite.all():
        pixels[~finite] = pixels[finite].min() if finite.any() else 0.0
    return PixelPlane(pixels, white=255.0 if picture else None)


def stack_of(
    planes: Sequence[PixelPlane], spacing: tuple[float, float] | None, modality: str
) -> tuple[Series, Stack]:
    """A stack that stands for planes in memory.

    Raises
    ------
    UsageError
        If a spacing is no length.
    """
    if spacing is not None:
        spacing = (float(spacing[0]), float(spacing[1]))  # of NumPy, perhaps
        if not min(spacing) > 0:
            raise UsageError(
                f"spacing={spacing}: millimetres between rows, then between columns, above 0"
            )
    frames = tuple(Frame(_NOWHERE, index) for index in range(len(planes)))
    rows, columns = planes[0].pixels.shape[:2]
    stack = Stack("array", Kind.PICTURE, frames, rows, columns, pixel_spacing=spacing)
    return Series("", modality, "", "", (stack,)), stack


def draw(
    planes: Sequence[PixelPlane],
    stack: Stack,
    rule: str,
    modality: str,
    size: int,
    *,
    picture: bool,
) -> Iterator[Slice]:
    """Window planes by a detector's rule, measured on all of them, and draw them on its square."""

    def read(indices: list[int]) -> Iterator[PixelPlane]:
        return (planes[index] for index in indices)

    window = measure_planes(read, len(planes), rule, modality, picture=picture)
    letterbox = Letterbox.of(stack, size)
    return (render_plane(plane, window, letterbox) for plane in planes)
