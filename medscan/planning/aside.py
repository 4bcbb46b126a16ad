"""Set damaged files aside, and say what was damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from medscan.files import make_folder, remove, replacing
from medscan.options import Outputs
from medscan.results import Results

LISTED = 10
"""Damaged studies that a line names at most."""


def set_results_aside(outputs: Outputs, found: Results | None, damage: list[str]) -> None:
    """Keep a copy of damaged results, and add a line about them to `damage`.

    Those of which something can be read stay in place: the scan publishes the rest of them.

    Parameters
    ----------
    outputs : Outputs
        With results.
    found : Results or None
        None: none of it can be read.
    damage : list of str
    """
    if found is not None and not found.is_damaged():
        return
    name = outputs.out.name
    _keep(outputs.out, outputs.damaged)
    if found is None:
        remove(outputs.out)
        line = f"{name} was damaged, and every study in it is scanned again"
    elif studies := found.damaged():
        line = f"{name} was damaged: {_named(studies)} scanned again"
    else:
        line = f"{name} was damaged, but no study in it: it is written anew"
    if (told := f"{line}; the damaged file is in {outputs.damaged.name}") not in damage:
        damage.append(told)


def set_parts_aside(outputs: Outputs, parts: Sequence[Path]) -> str:
    """Move damaged part files away; return a line about them."""
    for part in parts:
        _keep(part, outputs.damaged)
        remove(part)
    what = f"unpublished results were damaged: {_named([part.stem for part in parts])}"
    return f"{what} scanned again; the damaged files are in {outputs.damaged.name}"


def _named(studies: Sequence[str]) -> str:
    more = f" and {len(studies) - LISTED} more are" if len(studies) > LISTED else ""
    verb = more or (" are" if len(studies) > 1 else " is")
    return f"{'studies' if len(studies) > 1 else 'study'} {', '.join(studies[:LISTED])}{verb}"


def _keep(path: Path, folder: Path) -> None:
    """Give a file a second name in a folder, or a copy where the file system has no links.

    Raises
    ------
    DiskError
        If neither is possible.
    """
    make_folder(folder)
    kept = folder / path.name
    remove(kept)
    try:
        os.link(path, kept)
    except OSError:
        with replacing(kept) as aside:
            shutil.copyfile(path, aside)
