"""The history of a site -> whether a detector still does what it did."""

from medscan.monitoring.evidence import BETS, began, bets, evidence, p_values
from medscan.monitoring.history import VARIABLES, Entry, History, record
from medscan.monitoring.lines import Alarm, Line, Precision, Watched
from medscan.monitoring.page import plain, write_page
from medscan.monitoring.watch import watch

__all__ = [
    "BETS",
    "VARIABLES",
    "Alarm",
    "Entry",
    "History",
    "Line",
    "Precision",
    "Watched",
    "began",
    "bets",
    "evidence",
    "p_values",
    "plain",
    "record",
    "watch",
    "write_page",
]
