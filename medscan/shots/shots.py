"""From labelled files to the tensors that a method learns from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medscan.choices import Plane
from medscan.errors import UsageError
from medscan.gate import Acquired
from medscan.shots.data import Item
from medscan.shots.patients import COLUMN
from medscan.shots.slots import LabelledSlice, load_slots, slots_in_turn, slots_of


@dataclass(frozen=True, slots=True)
class Shots:
    """Labelled slices.

    Parameters
    ----------
    names : list of str
    images : Tensor (I, 3, S, S)
        float32 in [0, 1].
    labels : Tensor (I,)
        float32, 1 abnormal.
    masks : Tensor (I, S, S) or None
        float32 in {0, 1}; None when no abnormal shot has one.
    masked : Tensor (I,)
        bool; False for an abnormal shot without a mask.
    patients : Tensor (I,)
        int64, a number for each patient.
    organs : Tensor (I,)
        int64, what an image shows: an index into the words that a method is built with.
    files : frozenset of Path
        Where they were read from.
    identities : frozenset of str
        Whom their files and tables say that they are of; never to be shown.
    typical : Tensor (I,) or None
        bool; False for one that was picked out, which calibration leaves alone. None: all are.
    acquired : tuple of Acquired
        How those were taken that were read together.
    longest : int
        Longest side of any of their frames, pixels.
    """

    names: list[str]
    images: Tensor
    labels: Tensor
    masks: Tensor | None
    masked: Tensor
    patients: Tensor
    organs: Tensor
    files: frozenset[Path] = frozenset()
    identities: frozenset[str] = frozenset()
    typical: Tensor | None = None
    acquired: tuple[Acquired, ...] = ()
    longest: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def take(self, chosen: Tensor) -> Shots:
        """The shots where `chosen` (I,), bool, is True."""
        return Shots(
            [name for name, keep in zip(self.names, chosen.tolist(), strict=True) if keep],
            self.images[chosen],
            self.labels[chosen],
            None if self.masks is None else self.masks[chosen],
            self.masked[chosen],
            self.patients[chosen],
            self.organs[chosen],
            self.files,
            self.identities,
            None if self.typical is None else self.typical[chosen],
            self.acquired,
            self.longest,
        )


def draw_shots(
    items: list[Item],
    shots: int,
    seed: int,
    *,
    size: int,
    window: str,
    plane: Plane | None,
    labels: Sequence[int] = (0, 1),
) -> Shots:
    """K slices of each label, 0 normal and 1 abnormal, of as many patients as possible.

    Raises
    ------
    UsageError
        There are fewer than K of a label, a file cannot be read, or a mask does not fit its image.
    """
    found: list[LabelledSlice] = []
    for label in labels:
        word = ("normal", "abnormal")[label]
        mine = [item for item in items if item.label == label]
        drawn = _drawn(mine, shots, seed + label, size=size, window=window, plane=plane)
        if len(drawn) < shots:
            raise UsageError(
                f"{shots} {word} shots were asked for, but there are {len(drawn)}; give more "
                f"data or a smaller --shots"
            )
        found += drawn
    return stacked(found)


def load_items(items: list[Item], *, size: int, window: str, plane: Plane | None) -> Shots:
    """Every slice of every item; of an abnormal volume with a mask, those that it touches."""
    return stacked(list(load_slots(slots_of(items, plane), size=size, window=window)))


def stream_slices(
    items: list[Item], *, size: int, window: str, plane: Plane | None
) -> Iterator[LabelledSlice]:
    """Every slice of every item, one at a time, background left out.

    A slice of an abnormal volume that its mask does not touch is normal.

    Raises
    ------
    UsageError
        A file cannot be read, a mask does not fit its image, or an abnormal volume has no mask.
    """
    yield from load_slots(slots_of(items, plane, whole=True), size=size, window=window)


def merged_shots(parts: Sequence[tuple[str, Shots]]) -> Shots:
    """Shots of several named data sets as one; organ 0 is none of them but what will be scored.

    Masks speak only for data sets that have them, and columns of patients only for their own.
    """
    side = parts[0][1].images.shape[-1]
    masked = any(shots.masks is not None for _, shots in parts)
    masks, patients, seen = [], [], 0
    for _, shots in parts:
        empty = torch.zeros(len(shots), side, side)
        masks.append(empty if shots.masks is None else shots.masks)
        patients.append(shots.patients + seen)
        seen += int(shots.patients.max()) + 1
    return Shots(
        names=[f"{name}/{n}" for name, shots in parts for n in shots.names],
        images=torch.cat([shots.images for _, shots in parts]),
        labels=torch.cat([shots.labels for _, shots in parts]),
        masks=torch.cat(masks) if masked else None,
        masked=torch.cat([shots.masked & (shots.masks is not None) for _, shots in parts]),
        patients=torch.cat(patients),
        organs=torch.cat([torch.full((len(s),), n) for n, (_, s) in enumerate(parts, 1)]),
        files=frozenset(file for _, shots in parts for file in shots.files),
        identities=frozenset(
            name for _, shots in parts for name in shots.identities if not name.startswith(COLUMN)
        ),
        longest=max(shots.longest for _, shots in parts),
    )


def _drawn(
    items: list[Item], shots: int, seed: int, *, size: int, window: str, plane: Plane | None
) -> list[LabelledSlice]:
    """At most so many shots in drawing order; background slices are passed over."""
    turns, found = slots_in_turn(items, seed, plane), list[LabelledSlice]()
    while some := list(islice(turns, shots - len(found))):
        found += load_slots(some, size=size, window=window)
    return found


def stacked(found: Sequence[LabelledSlice]) -> Shots:
    """Slices as the tensors that a method learns from.

    Raises
    ------
    UsageError
        There is none.
    """
    if not found:
        raise UsageError("every image is background: there is nothing to fit on")
    patients = {name: n for n, name in enumerate(sorted({s.item.patient for s in found}))}
    side = found[0].image.shape[-1]
    empty = np.zeros((side, side), np.bool_)
    has_masks = any(s.mask is not None for s in found)
    masks = np.stack([empty if s.mask is None else s.mask for s in found])
    return Shots(
        names=[s.item.name for s in found],
        images=torch.from_numpy(np.stack([s.image for s in found])),
        labels=torch.tensor([float(s.item.label) for s in found]),
        masks=torch.from_numpy(masks).float() if has_masks else None,
        masked=torch.tensor([s.item.label == 0 or s.mask is not None for s in found]),
        patients=torch.tensor([patients[s.item.patient] for s in found]),
        organs=torch.zeros(len(found), dtype=torch.int64),
        files=frozenset(s.item.path for s in found),
        identities=frozenset(name for s in found for name in s.item.identities),
        typical=torch.tensor([s.item.typical for s in found]),
        acquired=tuple(s.acquired for s in found),
        longest=max(s.longest for s in found),
    )


def named_slices(
    items: list[Item], names: Collection[str], *, size: int, window: str, plane: Plane | None
) -> Iterator[LabelledSlice]:
    """The slices of items that have one of the names, background left out."""
    files = {name.rpartition("#")[0] for name in names} | set(names)
    slots = slots_of([item for item in items if item.name in files], plane)
    named = (slot for slot in slots if slot.item.name in names)
    yield from load_slots(named, size=size, window=window)
