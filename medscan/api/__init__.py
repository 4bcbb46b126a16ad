"""medscan from Python: what `import medscan` offers, documented in medscan(3).

Nothing is printed: progress goes to a function of the caller's, and warnings to the logger
`medscan`. Errors are those of `medscan.errors`.
"""

import logging

from medscan.api.detector import Detector
from medscan.api.results import Results, Study, open_results
from medscan.api.runs import fit, scan
from medscan.api.scores import Scores

__all__ = ["Detector", "Results", "Scores", "Study", "fit", "open_results", "scan"]

# Without a handler of the caller's, Python would write warnings to standard error.
logging.getLogger("medscan").addHandler(logging.NullHandler())
