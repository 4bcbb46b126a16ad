"""What an image says that it is -> the detector that is for it, or why none is."""

from medscan.routing.describe import describe
from medscan.routing.judge import Answer, Finding, judge, verdict
from medscan.routing.regions import REGIONS, Region
from medscan.routing.route import Route, Trial, listed, route
from medscan.routing.rules import (
    CLASSES,
    KINDS,
    MODALITY_WORDS,
    RADIOGRAPHS,
    VIEWS,
    Kind,
    Range,
    Without,
)
from medscan.routing.words import PATTERN

__all__ = [
    "CLASSES",
    "KINDS",
    "MODALITY_WORDS",
    "PATTERN",
    "RADIOGRAPHS",
    "REGIONS",
    "VIEWS",
    "Answer",
    "Finding",
    "Kind",
    "Range",
    "Region",
    "Route",
    "Trial",
    "Without",
    "describe",
    "judge",
    "listed",
    "route",
    "verdict",
]
