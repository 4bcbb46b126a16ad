"""Scan due studies into results.h5: lock, pipeline, budgets and publication.

Imports no torch until a model is loaded.
"""

from medscan.scan.disk import Room, Square, has_entries
from medscan.scan.engine import Assignment, Engine, LocalEngine, Tally
from medscan.scan.guard import Stop, Watchdog, stopping
from medscan.scan.kept import recall, scores_of
from medscan.scan.lock import locked
from medscan.scan.manifest import manifest_of, versions
from medscan.scan.part import FinishedStudy, finish_study
from medscan.scan.pipeline import Pipeline, Watch
from medscan.scan.publish import Publish
from medscan.scan.run import scan
from medscan.scan.summary import Summary

__all__ = [
    "Assignment",
    "Engine",
    "FinishedStudy",
    "LocalEngine",
    "Pipeline",
    "Publish",
    "Room",
    "Square",
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
