"""Bags -> the slices that a detector is fitted on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from medscan.bags.draw import evenly, slots_of_bag, spread
from medscan.bags.find import OfBag, choose, find
from medscan.bags.match import Bag
from medscan.clip import Backbone
from medscan.errors import FileError, UsageError
from medscan.fitting import FitOptions, patient_folds
from medscan.methods import build, settings_of
from medscan.shots import LabelledSlice, Slot, load_slots

READ = (8, 24)
"""Slices that are read of a normal study, and of an abnormal one."""
MOST = 256
"""Slices of each label that a detector is fitted on: all are in memory."""
PARTS = 4
"""Parts of the patients, of which one at a time is searched by what the others teach."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """What is told while studies are read; each may do nothing.

    Parameters
    ----------
    tell : callable
        Takes a line for the user.
    indexed : callable
        Takes the number of files whose headers are read.
    read : callable
        Takes the number of studies of which slices are read, and of all.
    """

    tell: Callable[[str], None] = lambda _: None
    indexed: Callable[[int], None] = lambda _: None
    read: Callable[[int, int], None] = lambda _, __: None


class Reader:
    """Reads slices of bags, and chooses those to fit on.

    Parameters
    ----------
    bags : sequence of Bag
        Normal ones first.
    size : int
        Side of the model's square, pixels.
    options : FitOptions
        Of these the window, and the seed of heights and of the parts of the patients.
    watcher : Watcher
    """

    def __init__(
        self, bags: Sequence[Bag], size: int, options: FitOptions, watcher: Watcher
    ) -> None:
        self.bags, self.size, self.options, self.watcher = bags, size, options, watcher
        self.kept: list[LabelledSlice] = []
        self.read: set[int] = set()
        self.doubtful = self.unreadable = 0

    def shots(self, backbone: Backbone, most: int) -> list[LabelledSlice]:
        """The slices to fit on, at most so many of each bag.

        Raises
        ------
        UsageError
            If nothing is left of a label.
        """
        labels = Counter(bag.label for bag in self.bags)
        most = max(1, min(most, MOST // max(labels.values())))
        normal = self._keeping(self._slices(self._unnamed(0)), most)
        found: Mapping[int, Collection[str]] = {}
        if self._unnamed(1):
            found = self._found(backbone, normal, most)
        else:
            deque(normal, maxlen=0)
        self._load(found)
        for label in labels:
            if not any(one.item.label == label for one in self.kept):
                raise UsageError(_NOTHING[label])
        return self.kept

    def told(self) -> str:
        """How many studies were read, and how many slices of them are fitted on."""
        slices = Counter(one.item.label for one in self.kept)
        studies = Counter(self.bags[number].label for number in self.read)
        text = (
            f"read {studies[0]} normal and {studies[1]} abnormal studies; fitting on {slices[0]} "
            f"normal and {slices[1]} abnormal slices"
        )
        notes = [
            (self.doubtful, "abnormal studies in which nothing differs from normal ones"),
            (len(self.bags) - len(self.read), "studies without a slice that shows anything"),
            (self.unreadable, "slices that cannot be read"),
        ]
        left = [f"{count} {what}" for count, what in notes if count]
        return f"{text}; left out: {', '.join(left)}" if left else text

    def skip(self, _slot: Slot, _error: FileError) -> None:
        """Count a slice that cannot be read."""
        self.unreadable += 1

    def _unnamed(self, label: int) -> list[int]:
        """Numbers of the bags of a label of which no slice is named."""
        return [n for n, b in enumerate(self.bags) if b.label == label and not b.slices]

    def _slices(self, numbers: Sequence[int]) -> Iterator[OfBag]:
        """Slices at all heights of some bags, bag by bag."""
        seed = self.options.seed
        slots = (
            (n, slot)
            for n in numbers
            for slot in spread(slots_of_bag(self.bags[n]), READ[self.bags[n].label], seed)
        )
        return self._drawn(slots)

    def _drawn(self, slots: Iterable[tuple[int, Slot]]) -> Iterator[OfBag]:
        """Draw slices, after the numbers of their bags; background and broken ones are left out."""
        owners: dict[str, int] = {}

        def passed() -> Iterator[Slot]:
            for number, slot in slots:
                owners[slot.item.name] = number
                yield slot

        window = self.options.window
        for one in load_slots(passed(), size=self.size, window=window, skip=self.skip):
            number = owners[one.item.name]
            if number not in self.read:
                self.read.add(number)
                self.watcher.read(len(self.read), len(self.bags))
            yield number, one

    def _keeping(self, normal: Iterable[OfBag], most: int) -> Iterator[OfBag]:
        """The slices of normal bags; some of each become shots."""
        for _, group in groupby(normal, key=lambda pair: pair[0]):
            slices = list(group)
            if len(self.kept) < MOST:
                self.kept += [one for _, one in evenly(slices, most)]
            yield from slices

    def _found(
        self, backbone: Backbone, normal: Iterable[OfBag], most: int
    ) -> Mapping[int, Collection[str]]:
        """Slices of abnormal bags that differ from those of normal ones."""
        settings = settings_of("discriminant")
        method = build("discriminant", backbone, "", settings, masked=False).to(backbone.device)
        scores, normals = find(method, self._parts(), normal, self._slices(self._unnamed(1)))
        if not normals:
            raise UsageError(_NOTHING[0])
        chosen = choose(scores, normals, most)
        self.doubtful = sum(not names for names in chosen.values())
        return chosen

    def _parts(self) -> list[int]:
        """The part of the patients that each bag is of."""
        labels = torch.tensor([bag.label for bag in self.bags])
        numbers = {name: n for n, name in enumerate(sorted({b.patient for b in self.bags}))}
        patients = torch.tensor([numbers[bag.patient] for bag in self.bags])
        folds = patient_folds(labels, patients, PARTS, self.options.seed)
        return torch.stack(folds).int().argmax(0).tolist() if folds else [0] * len(self.bags)

    def _load(self, found: Mapping[int, Collection[str]]) -> None:
        """Draw once more what was found, and for the first time what rows name."""
        slots: list[tuple[int, Slot]] = []
        room = {0: MOST, 1: MOST}
        for number, bag in enumerate(self.bags):
            wanted = found.get(number, ())
            for slot in slots_of_bag(bag) if bag.slices or wanted else ():
                label = slot.item.label
                if (bag.slices or slot.item.name in wanted) and room[label]:
                    slots.append((number, slot))
                    room[label] -= 1
        self.kept += [one for _, one in self._drawn(slots)]


_NOTHING = (
    "no slice of the normal studies can be used: each is black, a single grey or unreadable",
    "nothing in the abnormal studies differs from the normal ones: label more studies, or name "
    "slices in a column slice",
)
