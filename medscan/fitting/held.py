"""Whole normal stacks, scored by models that had not seen their patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medscan.choices import Plane
from medscan.errors import FileError
from medscan.methods import Levels, Method
from medscan.normals import needed
from medscan.shots import Item, Shots, Slot, WholeStack, load_slots, refuse, whole_stacks

MOST_SLICES = 60
"""Slices of a stack that are scored, evenly spaced: a longer one has hardly another highest."""
BATCH = 16

Score = Callable[[Levels], tuple[Tensor, Tensor]]
"""As `Method.score`."""


@dataclass(frozen=True, slots=True)
class NormalStacks:
    """Whole normal stacks to calibrate on.

    Parameters
    ----------
    stacks : tuple of WholeStack
    patients : tuple of int
        Of each stack: its number in `Shots.patients`, or one from `strangers` up without shots.
    strangers : int
    window : str
        Rule that their slices are drawn by.
    skip : callable
        See `load_slots`.
    told : callable
        Takes the number of slices of each stack that has been scored.
    """

    stacks: tuple[WholeStack, ...] = ()
    patients: tuple[int, ...] = ()
    strangers: int = 0
    window: str = "auto"
    skip: Callable[[Slot, FileError], None] = refuse
    told: Callable[[int], None] = lambda _: None

    @classmethod
    def of(
        cls, items: Sequence[Item], shots: Shots, *, target_fpr: float, window: str, plane: str
    ) -> NormalStacks:
        """Those of a data set, patients with shots first; twice as many as the rate needs.

        None where most normal patients have pictures only.
        """
        patients = {item.name: item.patient for item in items}
        numbers = {
            patients[name if name in patients else name.rpartition("#")[0]]: number
            for name, number in zip(shots.names, shots.patients.tolist(), strict=True)
        }
        found = whole_stacks(items, Plane(plane) if plane else None)
        normal = {item.patient for item in items if not item.label}
        if 2 * len({stack.patient for stack in found}) < len(normal):
            return NO_STACKS
        return cls.chosen(found, numbers, shots, target_fpr=target_fpr, window=window)

    @classmethod
    def chosen(
        cls,
        stacks: Sequence[WholeStack],
        numbers: Mapping[str, int],
        shots: Shots,
        *,
        target_fpr: float,
        window: str,
        skip: Callable[[Slot, FileError], None] = refuse,
    ) -> NormalStacks:
        """Some of these stacks, by the numbers of patients who have shots."""
        known = dict(numbers)
        found = sorted(stacks, key=lambda stack: stack.patient not in known)
        found = found[: 2 * needed(target_fpr) + 1]
        strangers = int(shots.patients.max()) + 1
        for stack in found:
            known.setdefault(stack.patient, strangers + len(known))
        patients = tuple(known[stack.patient] for stack in found)
        return cls(tuple(found), patients, strangers, window, skip)

    @property
    def counts(self) -> list[int]:
        """Slices of each stack that are scored."""
        return [min(len(stack.slots), MOST_SLICES) for stack in self.stacks]

    @property
    def files(self) -> frozenset[Path]:
        """Where they are read from."""
        return frozenset(slot.item.path for stack in self.stacks for slot in stack.slots)

    @property
    def identities(self) -> frozenset[str]:
        """Who they are of, as in `Item`."""
        held = (slot.item.identities for stack in self.stacks for slot in stack.slots)
        return frozenset(name for names in held for name in names)

    def left_out(self, patients: Tensor, number: int, folds: int) -> Iterator[int]:
        """Indices of the stacks of a fold's patients, and of its part of those without shots."""
        fold = set(patients.tolist())
        for index, patient in enumerate(self.patients):
            if patient in fold or (patient >= self.strangers and patient % folds == number):
                yield index

    @torch.inference_mode()
    def scores(self, index: int, method: Method, score: Score) -> Tensor:
        """Scores (n,) of a stack's slices, background left out, on the CPU.

        Raises
        ------
        medscan.errors.UsageError
            A slice cannot be read.
        """
        slots, size, count = self.stacks[index].slots, method.backbone.size, self.counts[index]
        chosen = (slots[n * len(slots) // count] for n in range(count))
        drawn = load_slots(chosen, size=size, window=self.window, skip=self.skip)
        images = [torch.from_numpy(np.ascontiguousarray(one.image)) for one in drawn]
        parts = torch.split(torch.stack(images), BATCH) if images else ()
        found = [score(method(method.prepare(part)))[0].cpu() for part in parts]
        self.told(count)
        return torch.cat(found) if found else torch.zeros(0)


NO_STACKS = NormalStacks()


@dataclass(slots=True)
class HeldOut:
    """What was said of slices and stacks by models that had not seen their patients.

    Parameters
    ----------
    shots : dict of int to list of float
        Scores of normal shots, by patient.
    abnormals : list of float
        Scores of abnormal shots.
    maps : list of Tensor (G, G)
        Of normal shots.
    stacks : list of (int, tuple of float)
        Patient of each whole normal stack, and its scores slice by slice.
    """

    shots: dict[int, list[float]] = field(default_factory=dict)
    abnormals: list[float] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)
    stacks: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)

    def add(self, shots: Shots, which: Tensor, scores: Tensor, maps: Tensor) -> None:
        """Add the scores (I,) and maps (I, G, G) of shots where `which` (I,), bool, is True."""
        normal, abnormal = which & (shots.labels == 0), which & (shots.labels == 1)
        for patient, score in zip(
            shots.patients[normal].tolist(), scores[normal].tolist(), strict=True
        ):
            self.shots.setdefault(patient, []).append(score)
        self.abnormals += scores[abnormal].tolist()
        self.maps += maps[normal].unbind()

    def add_stack(self, patient: int, scores: Tensor) -> None:
        """Add the scores (n,) of a normal stack's slices."""
        if len(scores):
            self.stacks.append((patient, tuple(scores.tolist())))

    @property
    def normals(self) -> dict[int, list[float]]:
        """Scores of normal slices by patient: of whole stacks, or else of shots."""
        found: dict[int, list[float]] = {}
        for patient, scores in self.stacks:
            found.setdefault(patient, []).extend(scores)
        return self.shots | found
