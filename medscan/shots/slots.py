"""A slice that a labelled file holds: where it lies, and how it and its mask are drawn."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medscan import archive, imaging, reading
from medscan.archive import Frame, Stack
from medscan.choices import Plane
from medscan.errors import FileError, UsageError
from medscan.shots.data import Item, by_patient
from medscan.shots.sources import VOLUMES

log = logging.getLogger("medscan.fit")


@dataclass(frozen=True, slots=True)
class Slot:
    """A slice that could become a shot.

    Parameters
    ----------
    item : Item
        With the slice's own name and label.
    stack : Stack
        Whole: its window is measured over all its frames.
    frame : Frame
        Of the slice.
    modality : str
    """

    item: Item
    stack: Stack
    frame: Frame
    modality: str


@dataclass(frozen=True, slots=True)
class LabelledSlice:
    """A slice with its truth.

    Parameters
    ----------
    item : Item
        With the slice's own name and label.
    image : float32 (3, S, S)
        In [0, 1].
    mask : bool (S, S) or None
    inside : (int, int, int, int)
        Top, left, bottom and right of the picture within the square; the rest is padding.
    """

    item: Item
    image: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    inside: tuple[int, int, int, int]


def slots_in_turn(items: list[Item], seed: int, plane: Plane | None) -> Iterator[Slot]:
    """Slices in drawing order: a picture is opened when its turn comes, a volume beforehand."""
    volumes = [item for item in items if item.path.name.lower().endswith(VOLUMES)]
    slots = {slot.item.name: slot for slot in slots_of(volumes, plane)}
    singles = [item for item in items if item not in volumes]
    for item in by_patient(singles + [slot.item for slot in slots.values()], seed):
        if item.name in slots:
            yield slots[item.name]
        else:
            yield from slots_of([item], plane)


def slots_of(items: list[Item], plane: Plane | None, *, whole: bool = False) -> Iterator[Slot]:
    """Slices of items; of an abnormal volume those that its mask touches, or with `whole` all."""
    for item in items:
        stack, modality, frames = _stack_of_item(item, plane)
        touched = None
        if item.label and stack.kind.is_volume:
            if item.mask is None:
                raise UsageError(
                    f"{item.name} is an abnormal volume without a mask, so that no one can say "
                    "which of its slices are abnormal; put a mask of its name into masks/"
                )
            touched = _touched(item, stack, plane)
        for frame in frames:
            abnormal = touched is None or frame.index in touched
            if abnormal or whole:
                name = f"{item.name}#{frame.index}" if len(frames) > 1 else item.name
                label = item.label if abnormal else 0
                yield Slot(replace(item, name=name, label=label), stack, frame, modality)


def _stack_of_item(item: Item, plane: Plane | None) -> tuple[Stack, str, Sequence[Frame]]:
    """The stack that an item's window is measured on, its modality, and the item's own frames."""
    if item.source is not None:
        return item.source.stack, item.source.modality, item.source.frames
    stack, modality = _stack_of(item.path, plane)
    return stack, modality, stack.frames


def _stack_of(path: Path, plane: Plane | None) -> tuple[Stack, str]:
    catalogue = archive.index([path], plane=plane)
    for study in catalogue.studies:
        for series in study.series:
            for stack in series.stacks:
                return stack, series.modality
    why = next((o.detail or o.reason for o in catalogue.set_aside), "it holds no image")
    raise UsageError(f"{path} cannot be fitted on: {why}")


def _touched(item: Item, stack: Stack, plane: Plane | None) -> set[int]:
    mask, _ = _stack_of(_mask_path(item), plane)
    _check_size(item, stack, mask, len(stack.frames))
    planes = ((frame.index, reading.read_plane(mask, frame)) for frame in mask.frames)
    return {
        index
        for index, plane in planes
        if not isinstance(plane, FileError) and bool((plane.pixels > 0).any())
    }


def _mask_path(item: Item) -> Path:
    if item.mask is None or not item.mask.is_file():
        raise UsageError(f"the mask of {item.name} does not exist: {item.mask}")
    return item.mask


def _check_size(item: Item, image: Stack, mask: Stack, frames: int) -> None:
    """Compare a mask with an image of so many frames."""
    sizes = [(s.columns, s.rows, n) for s, n in ((image, frames), (mask, len(mask.frames)))]
    if sizes[0] != sizes[1]:
        text = [" x ".join(str(n) for n in size) for size in sizes]
        raise UsageError(f"the mask of {item.name} is {text[1]}, but the image is {text[0]}")


def load_slot(slot: Slot, *, size: int, window: str) -> LabelledSlice | None:
    """Render a slice and its mask; None for background.

    Raises
    ------
    UsageError
        It cannot be read, or its mask does not fit.
    """
    drawn = _render(slot, size, window)
    if isinstance(drawn, FileError):
        raise UsageError(f"{slot.item.name} cannot be fitted on: {drawn}")
    if drawn.background:
        log.info("%s is background and is not used", slot.item.name)
        return None
    image = np.broadcast_to(drawn.image, (3, size, size))
    mask = None if slot.item.mask is None else _draw_mask(slot, size)
    if slot.item.label and mask is not None and not mask.any():
        log.warning("the mask of %s is empty: it is used as if it had none", slot.item.name)
        mask = None
    box = imaging.Letterbox.of(slot.stack, size)
    (top, left), (rows, columns) = box.offset, box.target
    return LabelledSlice(slot.item, image, mask, (top, left, top + rows, left + columns))


def _render(slot: Slot, size: int, window: str) -> imaging.Slice | FileError:
    try:
        measured = _window(slot.stack, window, slot.modality)
        return reading.render(slot.stack, [slot.frame], size, measured)[0]
    except FileError as error:
        return error


@lru_cache(maxsize=32)
def _window(stack: Stack, rule: str, modality: str) -> imaging.Window:
    """Measure the window of a stack once for all its slices; a changed file is another stack."""
    return reading.measure(stack, rule, modality)


def _draw_mask(slot: Slot, size: int) -> NDArray[np.bool_]:
    path = _mask_path(slot.item)
    stack, _ = _stack_of(path, slot.stack.plane)
    frames = sum(frame.file == slot.frame.file for frame in slot.stack.frames)
    _check_size(slot.item, slot.stack, stack, frames)
    frame = next(f for f in stack.frames if f.index == slot.frame.index)
    plane = reading.read_plane(stack, frame)
    if isinstance(plane, FileError):
        raise UsageError(f"the mask of {slot.item.name} cannot be read: {plane}")
    values = plane.pixels if plane.pixels.ndim == 2 else plane.pixels.max(axis=2)
    # A label map may hold any numbers; only JPEG blurs its zeros.
    inside = values > (values.max() / 2 if _is_jpeg(path) else 0)
    return imaging.Letterbox.of(slot.stack, size).draw_mask(inside)


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(3) == b"\xff\xd8\xff"
