"""Where exports go."""

from __future__ import annotations

from pathlib import Path

from medscan.errors import DiskError


def make_folder(out: Path) -> None:
    """Make a folder and its parents unless they are there.

    Raises
    ------
    DiskError
        It cannot be made, or something else has its name.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{out} could not be made: {error.strerror}") from error
