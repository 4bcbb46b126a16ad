"""Draw the slices of stacks in worker processes that may die; find the source files of results.

Imports no torch: decode workers import this package too.
"""

from medscan.reading.apart import measure, read_header, read_mask, read_plane, render
from medscan.reading.decoders import WINDOWS_KEPT, Decoders, decode
from medscan.reading.jobs import CHUNK, DrawJob, Drawn
from medscan.reading.sources import Sources, check_picture

__all__ = [
    "CHUNK",
    "WINDOWS_KEPT",
    "Decoders",
    "DrawJob",
    "Drawn",
    "Sources",
    "check_picture",
    "decode",
    "measure",
    "read_header",
    "read_mask",
    "read_plane",
    "render",
]
