"""Imports pydicom without `requests`, which it uses only to fetch test files.

It comes first in this room, and the rooms that use pydicom import this room first.
"""

from __future__ import annotations

from medscan.offline import without

with without("requests"):
    import pydicom  # noqa: F401 - for the other modules of medscan
