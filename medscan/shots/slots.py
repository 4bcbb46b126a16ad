"""The slices that a labelled file holds, and how they and their masks are drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from medscan import imaging
from medscan.archive import Frame
from medscan.choices import FILE_TIMEOUT_S, MAX_FILE_BYTES, Plane
from medscan.errors import FileError, UsageError
from medscan.gate import UNKNOWN, Acquired, acquired
from medscan.reading import CHUNK, DrawJob, decode
from medscan.shots.data import Item, by_patient
from medscan.shots.masks import Mask, mask_of
from medscan.shots.sources import VOLUMES, Source, sources_of

log = logging.getLogger("medscan.fit")


@dataclass(frozen=True, slots=True)
class Slot:
    """A slice that could become a shot.

    Parameters
    ----------
    item : Item
        With the slice's own name and label.
    source : Source
        What of its file lies in the same stack.
    frame : Frame
        Of the slice.
    mask : Mask or None
    """

    item: Item
    source: Source
    frame: Frame
    mask: Mask | None = None


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
    acquired : Acquired
        How its stack was taken.
    longest : int
        Longer side of its frame, pixels.
    """

    item: Item
    image: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    inside: tuple[int, int, int, int]
    acquired: Acquired = UNKNOWN
    longest: int = 0


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


def slots_of(items: Iterable[Item], plane: Plane | None, *, whole: bool = False) -> Iterator[Slot]:
    """Slices of items; of an abnormal stack those that its mask marks, or with `whole` all.

    Raises
    ------
    UsageError
        A file or its mask cannot be used, or nothing says which slices of an item are abnormal.
    """
    for item in items:
        sources = item.sources or sources_of(item.path, item.top, plane)
        several = sum(len(source.frames) for source in sources) > 1
        for number, source in enumerate(sources):
            mask = mask_of(item.name, item.mask, source, number) if item.mask else None
            for frame, label in _labels(item, source, mask):
                if label == item.label or whole:
                    name = f"{item.name}#{frame.index}" if several else item.name
                    yield Slot(replace(item, name=name, label=label), source, frame, mask)


def _labels(item: Item, source: Source, mask: Mask | None) -> Iterator[tuple[Frame, int]]:
    """The label of each frame: of several, only those that the mask marks are abnormal."""
    places = {frame.position_mm for frame in source.frames}
    if item.label and mask is None and len(places) > 1:
        raise UsageError(
            f"{item.name} is an abnormal volume without a mask, so that no one can say "
            "which of its slices are abnormal; put a mask of its name into masks/"
        )
    divided = mask if item.label and len(source.frames) > 1 else None
    for frame in source.frames:
        marked = divided is None or bool(divided.marks(frame).any())
        yield frame, item.label if marked else 0


def refuse(slot: Slot, error: FileError) -> None:
    """Raise UsageError: a slice cannot be read."""
    raise UsageError(f"{slot.item.name} cannot be fitted on: {error}")


def load_slots(
    slots: Iterable[Slot],
    *,
    size: int,
    window: str,
    skip: Callable[[Slot, FileError], None] = refuse,
) -> Iterator[LabelledSlice]:
    """Draw slices and their masks as a scan does, in their order; background is left out.

    Parameters
    ----------
    slots : iterable of Slot
    size : int
        Side of the model's square, pixels.
    window : str
    skip : callable
        Told of each slice that cannot be read, and is left out unless it raises an error.

    Raises
    ------
    UsageError
        One cannot be read, or its mask does not fit.
    """
    waiting: list[Slot] = []
    for _, drawn in decode(_jobs(slots, size, window, waiting), 1, FILE_TIMEOUT_S):
        for image in drawn:
            slot = waiting.pop(0)
            if isinstance(image, FileError):
                skip(slot, image)
            elif (labelled := _labelled(slot, image, size)) is not None:
                yield labelled


def _jobs(slots: Iterable[Slot], size: int, window: str, waiting: list[Slot]) -> Iterator[DrawJob]:
    """Jobs for runs of slices of one stack; slices wait in order until they are drawn."""
    for _, run in groupby(slots, key=lambda slot: id(slot.source.stack)):
        while some := list(islice(run, CHUNK)):
            waiting += some
            source, frames = some[0].source, tuple(slot.frame for slot in some)
            yield DrawJob(
                source.stack,
                0,
                frames,
                size,
                window,
                source.modality,
                MAX_FILE_BYTES,
                source.study,
            )


def _labelled(slot: Slot, drawn: imaging.Slice, size: int) -> LabelledSlice | None:
    if drawn.background:
        log.info("%s is background and is not used", slot.item.name)
        return None
    box = imaging.Letterbox.of(slot.source.stack, size)
    (top, left), (rows, columns) = box.offset, box.target
    inside = (top, left, top + rows, left + columns)
    image = np.broadcast_to(drawn.image, (3, size, size))
    taken, longest = acquired(slot.source.stack), max(box.rows, box.columns)
    return LabelledSlice(slot.item, image, _drawn_mask(slot, box), inside, taken, longest)


def _drawn_mask(slot: Slot, box: imaging.Letterbox) -> NDArray[np.bool_] | None:
    if slot.mask is None:
        return None
    mask = box.draw_mask(slot.mask.marks(slot.frame))
    if not slot.item.label and mask.any():
        raise UsageError(f"{slot.item.name} is labelled normal, but its mask marks some of it")
    if slot.item.label and not mask.any():
        log.warning("the mask of %s is empty: it is used as if it had none", slot.item.name)
        return None
    return mask
