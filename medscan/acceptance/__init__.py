"""Labelled studies of a site -> whether a detector may be used there."""

from medscan.acceptance.choose import Choice, Rule, Wish, choose, parse_wish
from medscan.acceptance.figures import Figures, measure
from medscan.acceptance.goals import Goal, Goals, judge
from medscan.acceptance.observe import Seen, unseen_bags
from medscan.acceptance.record import Acceptance, plain, write_acceptance
from medscan.acceptance.run import AcceptOptions, accept, write_detector
from medscan.acceptance.strata import Stratum, strata_of

__all__ = [
    "AcceptOptions",
    "Acceptance",
    "Choice",
    "Figures",
    "Goal",
    "Goals",
    "Rule",
    "Seen",
    "Stratum",
    "Wish",
    "accept",
    "choose",
    "judge",
    "measure",
    "parse_wish",
    "plain",
    "strata_of",
    "unseen_bags",
    "write_acceptance",
    "write_detector",
]
