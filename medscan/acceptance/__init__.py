"""Labelled studies of a site -> whether a detector may be used there."""

from medscan.acceptance.figures import Figures, measure
from medscan.acceptance.goals import Goal, Goals, judge
from medscan.acceptance.observe import Seen, unseen_bags
from medscan.acceptance.record import Acceptance, plain, write_acceptance
from medscan.acceptance.run import AcceptOptions, accept
from medscan.acceptance.strata import Stratum, strata_of

__all__ = [
    "AcceptOptions",
    "Acceptance",
    "Figures",
    "Goal",
    "Goals",
    "Seen",
    "Stratum",
    "accept",
    "judge",
    "measure",
    "plain",
    "strata_of",
    "unseen_bags",
    "write_acceptance",
]
