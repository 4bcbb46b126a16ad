"""Header of a DICOM image -> what an object made from it carries: identity, body region, loss."""

from medscan.inherited.identity import IDENTITY, copy_identity
from medscan.inherited.image import (
    frame_anatomy,
    patient_orientation,
    set_body_part,
    set_lossy,
)

__all__ = [
    "IDENTITY",
    "copy_identity",
    "frame_anatomy",
    "patient_orientation",
    "set_body_part",
    "set_lossy",
]
