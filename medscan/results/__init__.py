"""results.h5: the results of a scan, their reader and their writer."""

from pathlib import Path

from medscan.files import replacing
from medscan.results.maps import on_frame, on_square, sample
from medscan.results.merge import distinct, select_studies, source_paths
from medscan.results.reader import Results, read_part
from medscan.results.shards import missing_shards
from medscan.results.store import publish, write_part
from medscan.results.types import Mark, RunInfo, StackResult, State, StudyResult, Work


def open(path: Path | str) -> Results:
    """Open a results file for reading.

    Raises
    ------
    UsageError
        If it does not exist, is damaged, or was written by a newer medscan.
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
    "publish",
    "read_part",
    "replacing",
    "sample",
    "select_studies",
    "source_paths",
    "write_part",
]
