"""Stacks of which every slice is labelled normal: what a scan will see of a normal series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medscan.choices import Plane
from medscan.shots.data import Item
from medscan.shots.slots import Slot, slots_of
from medscan.shots.sources import VOLUMES


@dataclass(frozen=True, slots=True)
class WholeStack:
    """A normal stack.

    Parameters
    ----------
    patient : str
        As in `Item`.
    slots : tuple of Slot
        All its slices, in order.
    """

    patient: str
    slots: tuple[Slot, ...]


def whole_stacks(items: Sequence[Item], plane: Plane | None) -> list[WholeStack]:
    """Find the normal volumes and series of two slices or more, in the order of the items.

    A series of DICOM files counts where all of them are items; one that was picked out does not.
    """
    found: dict[
        int, list[Slot]
    ] = {}  # by identity: to compare stacks is to compare all their frames
    held = [item for item in items if _may_be_whole(item)]
    for slot in slots_of(held, plane):
        found.setdefault(id(slot.source.stack), []).append(slot)
    return [
        WholeStack(slots[0].item.patient, _in_order(slots))
        for slots in found.values()
        if len(slots) == len(slots[0].source.stack.frames) > 1
    ]


def _may_be_whole(item: Item) -> bool:
    volume = item.path.name.lower().endswith(VOLUMES) or bool(item.sources)
    return volume and not item.label and item.typical


def _in_order(slots: Sequence[Slot]) -> tuple[Slot, ...]:
    """Slots of a stack in the order of its frames."""
    places = {frame: n for n, frame in enumerate(slots[0].source.stack.frames)}
    return tuple(sorted(slots, key=lambda slot: places[slot.frame]))
