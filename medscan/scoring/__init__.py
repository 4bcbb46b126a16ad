"""Slices -> scores and maps by the detectors; slices of a stack -> its result.

Imports torch only when a model is loaded.
"""

from medscan.scoring.lanes import Lanes
from medscan.scoring.memory import batch_for, tower_of
from medscan.scoring.models import describe, loaded_scorers
from medscan.scoring.scorer import Scored, Scorer
from medscan.scoring.stacks import (
    AGGREGATION,
    TEXTUAL,
    THUMBNAILS,
    StackBuilder,
    aggregate,
    stack_calibration,
    study_result,
    thumbnails_of,
    worst_of,
)

__all__ = [
    "AGGREGATION",
    "TEXTUAL",
    "THUMBNAILS",
    "Lanes",
    "Scored",
    "Scorer",
    "StackBuilder",
    "aggregate",
    "batch_for",
    "describe",
    "loaded_scorers",
    "stack_calibration",
    "study_result",
    "thumbnails_of",
    "tower_of",
    "worst_of",
]
