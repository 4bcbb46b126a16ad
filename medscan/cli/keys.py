"""The key file of results whose source files are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medscan.cli.logs import tell

if TYPE_CHECKING:
    from medscan.archive import Pseudonyms
    from medscan.results import Results


def pseudonyms_for(results: Results, key_file: Path | None) -> Pseudonyms | None:
    """What names the source files; None, with a line that says so, without the key beside them.

    Raises
    ------
    UsageError
        The key file that was named is not the one that the results were made with.
    """
    from medscan.errors import DiskError, UsageError
    from medscan.planning import results_pseudonyms

    try:
        return results_pseudonyms(results.path, results.key_fingerprint(), key_file)
    except (UsageError, DiskError) as error:
        if key_file is not None:
            raise
        tell(f"{error}; without it only DICOM files are found")
        return None
