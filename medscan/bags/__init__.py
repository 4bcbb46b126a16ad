"""Studies that are labelled as a whole -> a detector."""

from medscan.bags.choose import Watcher
from medscan.bags.run import StudyOptions, fit_studies, studies_of

__all__ = ["StudyOptions", "Watcher", "fit_studies", "studies_of"]
