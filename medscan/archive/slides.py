"""Whole slides of microscopy (DICOM PS3.3 C.8.12.4): what of their series is no slice.

A slide is stored as a pyramid: levels of growing size, each an object whose frames are tiles of one
picture, with an overview and the slide's label beside them. Tiles are no slices, and of the large
levels there are thousands.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from medscan.archive.values import integer, text

_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_ROWS, _COLUMNS = "TotalPixelMatrixRows", "TotalPixelMatrixColumns"
_LABEL = "SpecimenLabelInImage"
KEYWORDS = (_ROWS, _COLUMNS, _LABEL)
LARGEST = 2**24
"""Pixels of the largest level that is read tile by tile: that of an overview, 4096 x 4096."""


def slide_refusal(ds: Dataset, sop_class: str, kinds: str) -> str:
    """Say why an object of a slide is not read; empty where it is, or is of no slide.

    Parameters
    ----------
    ds : Dataset
    sop_class : str
    kinds : str
        Its image type, in capitals.
    """
    rows, columns = _matrix(ds)
    if rows * columns > LARGEST and is_tiled(ds):
        return (
            f"its {rows} x {columns} pixels are in tiles: a smaller level, or a region saved as "
            "a picture, can be scored"
        )
    if sop_class == _SLIDE and "LABEL" in kinds.split("\\"):
        return "the label of the slide"
    return ""


def is_tiled(ds: Dataset) -> bool:
    """Whether the frames of an object are tiles of one larger picture."""
    rows, columns = _matrix(ds)
    return rows * columns > (integer(ds, "Rows") or 0) * (integer(ds, "Columns") or 0)


def shows_label(ds: Dataset) -> bool:
    """Whether a slide's label, which names its patient or specimen, is in the picture."""
    return text(ds, _LABEL).upper() == "YES"


def _matrix(ds: Dataset) -> tuple[int, int]:
    return max(0, integer(ds, _ROWS) or 0), max(0, integer(ds, _COLUMNS) or 0)
