"""The key file, by which the source files of results are found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medscan.cli.logs import tell
from medscan.errors import DiskError, UsageError

if TYPE_CHECKING:
    from medscan.archive import Pseudonyms
    from medscan.results import Results


def pseudonyms_for(results: Results, key_file: Path | None) -> Pseudonyms | None:
    """Return what pseudonyms were made with; None, and a warning, without a key beside the results.

    Raises
    ------
    UsageError
        The key file named is not the one that the results were made with.
    """
    from medscan.planning import results_pseudonyms

    try:
        return results_pseudonyms(results.path, results.key_fingerprint(), key_file)
    except (UsageError, DiskError) as error:
        if key_file is not None:
            raise
        tell(f"{error}; without it only DICOM files are found")
        return None
