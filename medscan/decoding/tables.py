"""What a DICOM header says about mapping stored values to values, and values to grey.

Modality LUT: PS3.3 C.11.1. VOI LUT and window: C.11.2. Functional groups: C.7.6.16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medscan.decoding.planes import Voi

_UNITS = {
    "HU": "HU",
    "HU_MOD": "modified HU",
    "OD": "thousandths of optical density",
    "MGML": "mg/ml",
    "Z_EFF": "effective atomic number",
    "PCT": "%",
    "BQML": "Bq/ml",
    "GML": "g/ml",
    "CNTS": "counts",
    "CPS": "counts/s",
}
"""Units as people write them, by RescaleType (PS3.3 C.11.1.1.2) or those of a PET (C.8.9.1.1.3)."""


class Table(NamedTuple):
    """A lookup table: the value of its first entry, its entries, and bits per entry."""

    first: int
    entries: NDArray[np.float32]
    bits: int

    @property
    def white(self) -> float:
        """Highest value of the bits that its entries use: writers claim more, and fewer."""
        highest = float(self.entries.max(initial=1.0))
        used = math.frexp(highest)[1]
        return max(2.0 ** min(self.bits, used) - 1, highest)


class Rescale(NamedTuple):
    """Value = stored * slope + intercept, or an entry of `table` if there is one."""

    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None

    @property
    def goes_below_zero(self) -> bool:
        """Whether it can make a negative value of a stored value that has no sign."""
        return self.intercept < 0 or self.slope < 0

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Rescale stored values of any shape; computed in float64."""
        if self.table is not None:
            return lookup(stored, self.table.first, self.table.entries)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return stored.astype(np.float32)
        return (stored.astype(np.float64) * self.slope + self.intercept).astype(np.float32)


def first_number(value: Any, otherwise: float) -> float:
    """First number of a value; `otherwise` where it is empty, not finite or not a number."""
    if isinstance(value, MultiValue | list | tuple):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return otherwise
    return number if math.isfinite(number) else otherwise


def functional_item(header: Dataset, index: int, sequence: str) -> Dataset:
    """Item of a functional group for a frame: its own, the shared one, or the header itself.

    Parameters
    ----------
    header : Dataset
    index : int
        Frame, 0-based.
    sequence : str
        Keyword of the group, such as "FrameVOILUTSequence".
    """
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for groups in (*own[index : index + 1], *shared[:1]):
        if groups.get(sequence):
            item: Dataset = groups[sequence].value[0]
            return item
    return header


def rescale_of(header: Dataset, index: int) -> Rescale:
    """Rescale of the stored values of frame `index` (PS3.3 C.11.1, C.7.6.16.2.9)."""
    items = (functional_item(header, index, "PixelValueTransformationSequence"), header)
    stated = [_slope_and_intercept(item) for item in items]
    for slope, intercept in stated:
        if slope:
            return Rescale(slope, intercept)
    signed = bool(header.PixelRepresentation)
    table = _table(header, header.get("ModalityLUTSequence"), signed=signed)
    if table is not None:
        return Rescale(table=table)
    # An intercept without a slope counts all the same, as other readers have it.
    return Rescale(intercept=next((intercept for _, intercept in stated if intercept), 0.0))


def _slope_and_intercept(item: Dataset) -> tuple[float, float]:
    """Of a rescale, 0 where they are not stated."""
    slope, intercept = item.get("RescaleSlope"), item.get("RescaleIntercept")
    return first_number(slope, 0.0), first_number(intercept, 0.0)


def units_of(header: Dataset, index: int, rescale: Rescale) -> str:
    """Units of the values of frame `index` after rescale: one of `_UNITS`, else empty.

    Its RescaleType, of a PET its Units, of a CT without a type Hounsfield units (C.8.2.1). Any
    other text stays in the header: it may name a patient.
    """
    item = functional_item(header, index, "PixelValueTransformationSequence")
    stated = str(item.get("RescaleType") or header.get("RescaleType") or "").strip()
    modality = str(header.get("Modality") or "")
    if modality == "PT":
        stated = str(header.get("Units") or "").strip() or stated
    if (
        not stated
        and modality == "CT"
        and rescale.table is None
        and any(_slope_and_intercept(item))
    ):
        return "HU"
    return _UNITS.get(stated, "")


def voi_of(header: Dataset, index: int, rescale: Rescale) -> Voi | None:
    """Window or lookup table that the header gives for showing frame `index`, if any.

    Parameters
    ----------
    header : Dataset
    index : int
    rescale : Rescale
        Of that frame: it decides whether the values that the table is for have a sign.
    """
    item = functional_item(header, index, "FrameVOILUTSequence")
    signed = rescale.table is None and bool(header.PixelRepresentation or rescale.goes_below_zero)
    table = _table(header, item.get("VOILUTSequence"), signed=signed)
    if table is not None:
        return Voi(table=table.entries / np.float32(table.white), first=table.first)
    center = first_number(item.get("WindowCenter"), math.nan)
    width = first_number(item.get("WindowWidth"), 0.0)
    function = str(item.get("VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    usable = math.isfinite(center) and (width >= 1 or (width > 0 and function != "LINEAR"))
    return Voi(center, width, function) if usable else None


def lookup(values: NDArray[Any], first: float, entries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Look values up; those below `first` take the first entry, those beyond the end the last."""
    index = np.rint(values.astype(np.float64) - first)
    return entries[np.clip(index, 0, len(entries) - 1).astype(np.intp)]


def _table(header: Dataset, luts: Sequence[Dataset] | None, *, signed: bool) -> Table | None:
    """First item of a LUT sequence (PS3.3 C.11.1.1), if any; 8-bit entries may be packed.

    `signed` says whether the values looked up have a sign. So has then the first of them
    (C.11.2.1.1), whose VR implicit VR does not tell, and writers confuse.
    """
    item = luts[0] if luts else Dataset()
    data, descriptor = item.get("LUTData"), item.get("LUTDescriptor")
    if data is None or descriptor is None:
        return None
    count, first, bits = (int(v) for v in descriptor)
    count = count % 65536 or 65536
    first = first - 65536 if signed and first > 32767 else first
    if isinstance(data, bytes):
        order = ">" if header.original_encoding[1] is False else "<"
        kind = "u1" if len(data) < 2 * count else f"{order}u2"
        data = np.frombuffer(data[: len(data) - len(data) % 2], dtype=kind)
    entries = np.atleast_1d(np.asarray(data)).astype(np.float32)[:count]
    if not len(entries) or not 1 <= bits <= 16:
        raise ValueError("lookup table without entries")
    return Table(first, entries, bits)
