"""A few labelled images -> a detector."""

from medscan.fit.data import Item, read_items, stem
from medscan.fit.run import FitOptions, fingerprint, fit
from medscan.fit.shots import LabelledSlice, Shots, load_items, stream_slices
from medscan.fit.train import Progress, scores

__all__ = [
    "FitOptions",
    "Item",
    "LabelledSlice",
    "Progress",
    "Shots",
    "fingerprint",
    "fit",
    "load_items",
    "read_items",
    "scores",
    "stem",
    "stream_slices",
]
