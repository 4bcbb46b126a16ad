"""Studies x detectors -> results, and the ledger of what is done.

Imports no torch: decode workers import this package too.
"""

from medscan.scan.accounting import Entry
from medscan.scan.dry import Forecast, foresee
from medscan.scan.options import Engine, ScanOptions, Summary
from medscan.scan.plan import Order, Rescan
from medscan.scan.run import scan
from medscan.scan.shares import Share, Shares, divide

__all__ = [
    "Engine",
    "Entry",
    "Forecast",
    "Order",
    "Rescan",
    "ScanOptions",
    "Share",
    "Shares",
    "Summary",
    "divide",
    "foresee",
    "scan",
]
