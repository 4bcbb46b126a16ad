"""Fetched studies that results hold -> gone from the folder.

A study goes when a results file, as its ledger has it, holds what a scan found of all its files:
those that are in the folder now, none of which could be read better another time.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from medscan.archive import (
    TRANSIENT_REASONS,
    ArchiveFile,
    Reason,
    group,
    key_of,
    read_header,
    walk,
)
from medscan.errors import UsageError
from medscan.fetching.spool import Spool
from medscan.nights import expect_removal
from medscan.planning import Ledger
from medscan.results import Work
from medscan.results import open as open_results
from medscan.scanning import locked


def forget(spool: Spool, results: Path, ledger: Path | None = None) -> tuple[int, int]:
    """Remove the studies that a results file holds from the folder.

    Parameters
    ----------
    spool : Spool
    results : Path
    ledger : Path or None
        Its ledger; None: beside it.

    Returns
    -------
    (int, int)
        Studies that were removed, and the objects in them.

    Raises
    ------
    UsageError
        If there are no results, or no ledger.
    LockedError
        If a scan is writing them.
    """
    open_results(results)
    path = ledger or results.with_name(f"{results.name}.ledger")
    if not path.is_file():
        raise UsageError(f"there is no ledger {path}, which says what {results} was made from")
    with locked(results), locked(path), closing(Ledger(path)) as scanned:
        unpublished = set(scanned.unpublished())
        done = {
            key: study
            for key, study in ((key_of(study), study) for study in spool.studies())
            if key not in unpublished and _is_done(spool.folder / key, scanned.work(key))
        }
        expect_removal(scanned, tuple(done))
        return len(done), sum(map(spool.forget, done.values()))


def _is_done(folder: Path, work: Work | None) -> bool:
    """Whether a scan has an outcome for each image in a folder, and would not try one again.

    Files of the folder are added and never changed: as many are the same ones.
    """
    if work is None or not folder.is_dir():
        return False
    reasons = {Reason(reason) for _, reason, _ in work.outcomes}
    if reasons.intersection((*TRANSIENT_REASONS, Reason.ARRIVING, Reason.LEFT_OVER)):
        return False
    files = [entry for entry in walk(folder) if isinstance(entry, ArchiveFile)]
    found = group(read_header(file) for file in files).studies
    return sum(len(study.files()) for study in found) == len(work.outcomes)
