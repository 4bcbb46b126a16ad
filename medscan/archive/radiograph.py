"""The plane of images without a position in the patient: projection radiographs."""

from __future__ import annotations

from pydicom.dataset import Dataset

from medscan.archive.values import text
from medscan.choices import Plane

KEYWORDS = ("ViewPosition", "PatientOrientation")
_VIEWS = {"AP": Plane.CORONAL, "PA": Plane.CORONAL, "LL": Plane.SAGITTAL, "RL": Plane.SAGITTAL}
"""Terms of View Position (0018,5101) that mean frontal or lateral."""
_AXES = {"L": "x", "R": "x", "A": "y", "P": "y", "H": "z", "F": "z"}
_ACROSS = {"xz": Plane.CORONAL, "yz": Plane.SAGITTAL, "xy": Plane.AXIAL}


def view_of(ds: Dataset) -> Plane | None:
    """Plane that a radiograph shows; None where its header does not say.

    From View Position (DICOM PS3.3 C.8.11.5), else from the directions of its rows and columns in
    Patient Orientation (PS3.3 C.7.6.1.1.1), whose first letters are the main directions.
    """
    named = _VIEWS.get(text(ds, "ViewPosition").upper())
    if named is not None:
        return named
    letters = [part[:1].upper() for part in text(ds, "PatientOrientation").split("\\")]
    return _ACROSS.get("".join(sorted(_AXES.get(letter, "") for letter in letters)))
