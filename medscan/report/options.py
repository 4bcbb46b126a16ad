"""What a report shows, as its caller chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medscan.archive import Pseudonyms
from medscan.report.decisions import Decisions
from medscan.report.pixels import FullSlices
from medscan.results import Results, StackResult

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
    windows : dict
        Rules of `medscan.imaging.parse_rule` by modality, for the slices that are drawn; those of
        other modalities are drawn as their detector saw them.
    full : int, "all" or "flagged"
        Slices of each stack that are also written at their own resolution and depth; see
        `medscan.report.pixels.full_slices`.
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
    windows: Mapping[str, str] = field(default_factory=dict)
    full: FullSlices = "flagged"
    link_template: str | None = None

    def window_of(self, stack: StackResult) -> str:
        """Rule that slices of a stack are drawn by; empty: that of its detector."""
        return self.windows.get(str(stack.info["modality"]), "")


DEFAULT = ReportOptions()
