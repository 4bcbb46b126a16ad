"""An archive to scan on any machine, with a lesion in a known place."""

import medscan.archive  # noqa: F401 - imports pydicom without a socket
from medscan.demo.archive import gather, write_series
from medscan.demo.phantom import Phantom, draw_head

__all__ = ["Phantom", "draw_head", "gather", "write_series"]
