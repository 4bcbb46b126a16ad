"""Labelled images on disk -> slices with their label, mask and patient."""

from medscan.shots.data import Item, by_patient, read_items, read_splits
from medscan.shots.patients import COLUMN, stated_by
from medscan.shots.shots import (
    Shots,
    draw_shots,
    load_items,
    merged_shots,
    named_slices,
    stacked,
    stream_slices,
)
from medscan.shots.slots import LabelledSlice, Slot, load_slots, refuse
from medscan.shots.sources import Source, judge_copy, stem
from medscan.shots.whole import WholeStack, whole_stacks

__all__ = [
    "COLUMN",
    "Item",
    "LabelledSlice",
    "Shots",
    "Slot",
    "Source",
    "WholeStack",
    "by_patient",
    "draw_shots",
    "judge_copy",
    "load_items",
    "load_slots",
    "merged_shots",
    "named_slices",
    "read_items",
    "read_splits",
    "refuse",
    "stacked",
    "stated_by",
    "stem",
    "stream_slices",
    "whole_stacks",
]
