"""Frames of DICOM files -> values after rescale; the libraries that decode them kept quiet."""

import medscan.archive  # noqa: F401 - imports pydicom without a socket
from medscan.decoding.dicom import DicomFile
from medscan.decoding.planes import PixelPlane, Voi, finite
from medscan.decoding.quiet import file_errors, no_stderr
from medscan.decoding.syntaxes import Syntax, syntaxes
from medscan.decoding.tables import lookup
from medscan.decoding.whole import judge

__all__ = [
    "DicomFile",
    "PixelPlane",
    "Syntax",
    "Voi",
    "file_errors",
    "finite",
    "judge",
    "lookup",
    "no_stderr",
    "syntaxes",
]
