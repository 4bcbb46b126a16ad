"""Scan due studies into results.h5: lock, pipeline, budgets and publication.

Imports no torch until a model is loaded.
"""

from medscan.scanning.disk import Room, has_entries
from medscan.scanning.engine import Assignment, Engine, LocalEngine, Tally
from medscan.scanning.guard import Stop, Watchdog, stopping
from medscan.scanning.kept import recall, scores_of
from medscan.scanning.lock import locked
from medscan.scanning.manifest import manifest_of, versions
from medscan.scanning.part import FinishedStudy, finish_study
from medscan.scanning.pipeline import Pipeline, Watch
from medscan.scanning.publish import Publish
from medscan.scanning.run import scan
from medscan.scanning.summary import Summary

__all__ = [
    "Assignment",
    "Engine",
    "FinishedStudy",
    "LocalEngine",
    "Pipeline",
    "Publish",
    "Room",
    "Stop",
    "Summary",
    "Tally",
    "Watch",
    "Watchdog",
    "finish_study",
    "has_entries",
    "locked",
    "manifest_of",
    "recall",
    "scan",
    "scores_of",
    "stopping",
    "versions",
]
