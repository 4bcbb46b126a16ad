"""Header of a DICOM image -> what an object made from it carries: identity, body region, loss."""

from medscan.inherited.identity import IDENTITY, copy_identity
from medscan.inherited.image import (
    frame_anatomy,
    patient_orientation,
    set_body_part,
    set_lossy,
)
from medscan.inherited.uid import derived_uid

__all__ = [
    "IDENTITY",
    "copy_identity",
    "derived_uid",
    "frame_anatomy",
    "patient_orientation",
    "set_body_part",
    "set_lossy",
]
