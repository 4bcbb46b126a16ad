"""Stacks -> drawn slices, in worker processes that may die; and results -> their source files.

Imports no torch: decode workers import this package too.
"""

from medscan.reading.decoders import WINDOWS, Decoders, decode
from medscan.reading.jobs import CHUNK, DrawJob, Drawn
from medscan.reading.sources import Sources

__all__ = ["CHUNK", "WINDOWS", "Decoders", "DrawJob", "Drawn", "Sources", "decode"]
