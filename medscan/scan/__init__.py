"""Studies x detectors -> results, and the ledger of what is done.

Imports no torch: decode workers import this package too.
"""

from medscan.scan.options import ScanOptions, Summary
from medscan.scan.run import scan

__all__ = ["ScanOptions", "Summary", "scan"]
