"""The slices of bags, at all heights of their stacks, under names that tell nobody who it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from medscan.archive import Kind, bids_name, identity_of
from medscan.bags.match import Bag, Place
from medscan.shots import COLUMN, Item, Slot, Source, WholeStack

One = TypeVar("One")


def slots_of_bag(bag: Bag) -> list[Slot]:
    """All slices of a bag, in the order of its stacks; if rows name slices, only these."""
    found = [slot for place in bag.places for slot in _slots(bag, place)]
    return [found[number - 1] for number in sorted(bag.slices)] if bag.slices else found


def whole_stacks_of(bag: Bag) -> Iterator[WholeStack]:
    """The stacks of a normal bag that have several slices, with all of these."""
    for place in bag.places:
        if not bag.slices and len(place.stack.frames) > 1:
            yield WholeStack(bag.patient, tuple(_slots(bag, place)))


def _slots(bag: Bag, place: Place) -> Iterator[Slot]:
    stack, study = place.stack, place.study.key
    source = Source(stack, stack.frames, place.series.modality, study)
    identities = _identities(bag, place)
    for number, frame in enumerate(stack.frames, 1):
        item = Item(
            f"study:{study}/{stack.key}#{number}",
            frame.file.full,
            bag.slices.get(number, bag.label),
            bag.patient,
            typical=not bag.slices,
            identities=identities,
        )
        yield Slot(item, source, frame)


def _identities(bag: Bag, place: Place) -> tuple[str, ...]:
    """By what an evaluation will know the patient again; see `Item`."""
    study, file = place.study, place.stack.frames[0].file
    listed = (f"{COLUMN}{bag.row.patient}",) if bag.row.patient else ()
    if place.stack.kind is Kind.DICOM:
        return (identity_of(study.patient_id, study.uid or study.key), *listed)
    if (name := bids_name(file.full.as_posix())) is not None:
        return (f"bids:{Path(name.data_set).resolve().name}/{name.subject}", *listed)
    return listed


def spread(slots: Sequence[Slot], most: int, seed: int) -> list[Slot]:
    """At most so many slices at different heights, each anywhere within its share of them.

    Where in their shares they lie follows from the seed, and from the name of the first, alone.
    """
    count = min(most, len(slots))
    digest = hashlib.sha256(f"{seed} {slots[0].item.name}".encode()).digest()
    where = np.random.default_rng(list(digest)).random(count)
    return [slots[int((n + where[n]) * len(slots) / count)] for n in range(count)]


def evenly(slices: Sequence[One], most: int) -> list[One]:
    """At most so many of some slices, evenly divided."""
    count = min(most, len(slices))
    return [slices[int((n + 0.5) * len(slices) / count)] for n in range(count)]
