"""What a report shows, as its caller chooses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medscan.archive import Pseudonyms
from medscan.report.decisions import Decisions
from medscan.results import Results

FEATURED = 200
"""Studies embedded in a single page, or drawn from the archive, by default."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report shows.

    Parameters
    ----------
    most : int or None
        Studies that are embedded in a single page, or drawn from the archive: flagged ones first,
        then by rank. None: all.
    archives : tuple of Path
        Where pictures of all slices are drawn from; without, those in the results are shown.
    old : Results or None
        To compare with.
    workers : int
        Processes that decode.
    keys : tuple of Pseudonyms or None
        What the files of the archives are named by in the results.
    decisions : Decisions or None
        A radiologist's verdicts on the studies.
    keeps_slices : bool
        Whether slices that an earlier report in the same folder drew are shown again.
    link_template : str or None
        See `medscan.links`; None: that of each file, empty: none.
    """

    most: int | None = FEATURED
    archives: tuple[Path, ...] = ()
    old: Results | None = None
    workers: int = 1
    keys: tuple[Pseudonyms | None, ...] = (None,)
    decisions: Decisions | None = None
    keeps_slices: bool = True
    link_template: str | None = None


DEFAULT = ReportOptions()
