"""results.h5: the results of a scan, their reader and their writer."""

from collections.abc import Iterable
from pathlib import Path

from medscan.errors import DamagedError
from medscan.files import replacing
from medscan.results.geometry import (
    affine_of,
    affine_on,
    is_even,
    slice_affine,
    slice_affines,
    spacing_of,
)
from medscan.results.kept import (
    Earlier,
    Entry,
    earlier_scores,
    gone_from,
    outdated_entries,
)
from medscan.results.maps import on_frame, on_square, sample
from medscan.results.merge import distinct, select_studies, source_paths
from medscan.results.opening import opened
from medscan.results.reader import Results, read_part, read_stacks
from medscan.results.shards import missing_shards
from medscan.results.store import Changes, Dropped, publish, write_part
from medscan.results.types import Mark, RunInfo, Score, StackResult, State, StudyResult, Work


def open(path: Path | str) -> Results:
    """Open a results file for reading.

    Raises
    ------
    UsageError
        If it does not exist, is none, or was written by another version of medscan.
    DamagedError
        If it is damaged so that none of its studies can be read.
    """
    results = Results(Path(path))
    results.check()
    return results


def readable(path: Path) -> Results | None:
    """Open a results file if it exists, and is not damaged so that none of it can be read.

    Raises
    ------
    UsageError
        If something else has its name.
    """
    if not path.exists():
        return None
    try:
        results = open(path)
        results.run()
        results.damaged()
    except DamagedError:
        return None
    return results


def damage_lines(files: Iterable[Results]) -> list[str]:
    """Name the damaged studies, which are left out of everything, in a line for each file."""
    damaged = {file.path: studies for file in files if (studies := file.damaged())}
    return [
        f"{path} is damaged; left out, and scanned again by the next scan: {', '.join(studies)}"
        for path, studies in damaged.items()
    ]


__all__ = [
    "Changes",
    "Dropped",
    "Earlier",
    "Entry",
    "Mark",
    "Results",
    "RunInfo",
    "Score",
    "StackResult",
    "State",
    "StudyResult",
    "Work",
    "affine_of",
    "affine_on",
    "damage_lines",
    "distinct",
    "earlier_scores",
    "gone_from",
    "is_even",
    "missing_shards",
    "on_frame",
    "on_square",
    "open",
    "opened",
    "outdated_entries",
    "publish",
    "read_part",
    "read_stacks",
    "readable",
    "replacing",
    "sample",
    "select_studies",
    "slice_affine",
    "slice_affines",
    "source_paths",
    "spacing_of",
    "write_part",
]
