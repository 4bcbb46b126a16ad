"""A few labelled images -> a detector."""

from medscan.fit.data import Item, read_items, read_splits, stem
from medscan.fit.refit import find_shots, labels_of, refit_detector, renamed, unjudged
from medscan.fit.run import FitOptions, fingerprint, fit
from medscan.fit.shots import LabelledSlice, Shots, Slot, load_items, load_slot, stream_slices
from medscan.fit.text import detector_line
from medscan.fit.train import Progress, scores

__all__ = [
    "FitOptions",
    "Item",
    "LabelledSlice",
    "Progress",
    "Shots",
    "Slot",
    "detector_line",
    "find_shots",
    "fingerprint",
    "fit",
    "labels_of",
    "load_items",
    "load_slot",
    "read_items",
    "read_splits",
    "refit_detector",
    "renamed",
    "scores",
    "stem",
    "stream_slices",
    "unjudged",
]
