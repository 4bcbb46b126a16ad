"""results.h5: what a scan found, and the reader of it."""

from pathlib import Path

from medscan.files import replacing
from medscan.results.maps import on_frame, on_square
from medscan.results.merge import distinct, paths, selected
from medscan.results.reader import Results, read_part
from medscan.results.shards import missing_shards
from medscan.results.store import publish, write_part
from medscan.results.types import Mark, RunInfo, StackResult, State, StudyResult, Work


def open(path: Path | str) -> Results:
    """A results file for reading.

    Raises
    ------
    UsageError
        There is none, it is damaged, or a newer medscan wrote it.
    """
    results = Results(Path(path))
    results.check()
    return results


__all__ = [
    "Mark",
    "Results",
    "RunInfo",
    "StackResult",
    "State",
    "StudyResult",
    "Work",
    "distinct",
    "missing_shards",
    "on_frame",
    "on_square",
    "open",
    "paths",
    "publish",
    "read_part",
    "replacing",
    "selected",
    "write_part",
]
