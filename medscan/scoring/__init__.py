"""Score slices with the detectors, and put the scores of a stack's slices together.

Imports torch only when a model is loaded.
"""

from medscan.scoring.aggregate import (
    AGGREGATION,
    aggregate,
    stack_calibration,
    stack_scores,
    top_count,
)
from medscan.scoring.lanes import Lanes
from medscan.scoring.memory import batch_for, tower_of
from medscan.scoring.models import describe, loaded_scorers
from medscan.scoring.scorer import AUTO_BATCH_SIZES, Scored, Scorer
from medscan.scoring.spacing import first_slices, further_slices
from medscan.scoring.stacks import (
    HEADER_UNUSED,
    TEXTUAL,
    THUMBNAILS,
    TILES_IDLE,
    StackBuilder,
    file_outcomes,
    study_result,
    thumbnail_policy,
)

__all__ = [
    "AGGREGATION",
    "AUTO_BATCH_SIZES",
    "HEADER_UNUSED",
    "TEXTUAL",
    "THUMBNAILS",
    "TILES_IDLE",
    "Lanes",
    "Scored",
    "Scorer",
    "StackBuilder",
    "aggregate",
    "batch_for",
    "describe",
    "file_outcomes",
    "first_slices",
    "further_slices",
    "loaded_scorers",
    "stack_calibration",
    "stack_scores",
    "study_result",
    "thumbnail_policy",
    "top_count",
    "tower_of",
]
