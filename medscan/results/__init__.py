"""results.h5: what a scan found, and the reader of it."""

from pathlib import Path

from medscan.files import replacing
from medscan.results.store import Results, publish, write_part
from medscan.results.types import RunInfo, StackResult, State, StudyResult


def open(path: Path | str) -> Results:
    """A results file for reading.

    Raises
    ------
    UsageError
        There is none, it is damaged, or a newer medscan wrote it.
    """
    results = Results(Path(path))
    results.run()
    return results


__all__ = [
    "Results",
    "RunInfo",
    "StackResult",
    "State",
    "StudyResult",
    "open",
    "publish",
    "replacing",
    "write_part",
]
