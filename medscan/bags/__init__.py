"""Studies that are labelled as a whole -> a detector."""

from medscan.bags.choose import Watcher
from medscan.bags.draw import slots_of_bag
from medscan.bags.labels import read_labels
from medscan.bags.match import Bag, match
from medscan.bags.run import StudyOptions, fit_studies, studies_of

__all__ = [
    "Bag",
    "StudyOptions",
    "Watcher",
    "fit_studies",
    "match",
    "read_labels",
    "slots_of_bag",
    "studies_of",
]
