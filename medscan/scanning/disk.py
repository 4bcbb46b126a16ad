"""Check that the disk has room for results, and that an archive is mounted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from medscan.files import free_bytes
from medscan.options import Outputs
from medscan.planning import Task
from medscan.runtimes import Square
from medscan.scoring import THUMBNAILS, Scorer

STUDY, STACK, SLICE, FILE = 8 << 10, 32 << 10, 256, 256
"""Bytes in a results file for each of these, in addition to maps and thumbnails."""
SPARE = 8 << 20
"""Bytes for files beside the results: ledger, worklist."""


def has_entries(root: Path) -> bool:
    """Whether a folder exists and is not empty: an archive that is not mounted fails this."""
    try:
        with os.scandir(root) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


class Room:
    """Reserves disk space for each study, so that what is scanned can also be published.

    While results are published, the old file, the part files and the new file are on the disk
    together.

    Parameters
    ----------
    outputs : Outputs
    scorers : mapping
        Scorers, or squares, by hash of their detector.
    """

    def __init__(self, outputs: Outputs, scorers: Mapping[str, Scorer | Square]) -> None:
        self.out, self.folder = outputs.out, outputs.parts
        self.squares = {digest: _square(scorer) for digest, scorer in scorers.items()}
        self.old_bytes = self.out.stat().st_size if self.out.exists() else 0
        self.reserved = 0

    @cached_property
    def parts_bytes(self) -> int:
        """Bytes of the part files written so far."""
        parts = self.folder.glob("*.h5") if self.folder.is_dir() else ()
        return sum(part.stat().st_size for part in parts)

    def reserve(self, task: Task) -> str:
        """Reserve space for one more study; return what is lacking, in words, or nothing."""
        size = self.estimate(task)
        # A study not written yet will need its size twice: in its part file and in the new results.
        needed = self.old_bytes + self.parts_bytes + 2 * (self.reserved + size) + SPARE
        free = free_bytes(self.out.parent)
        if free < needed:
            return (
                f"{self.out.parent} has {free >> 20} MiB free; the next study and publishing "
                f"need {(needed >> 20) + 1} MiB"
            )
        self.reserved += size
        return ""

    def mark_written(self, task: Task) -> None:
        """Turn the reservation of a study into written bytes."""
        size = self.estimate(task)
        self.reserved -= size
        self.parts_bytes += size

    def estimate(self, task: Task) -> int:
        """Return the largest size of a study's part file, in bytes."""
        total = STUDY + FILE * len(task.study.files())
        for _, stack, detector in task.stacks:
            square = self.squares[detector.digest]
            total += STACK + len(stack.frames) * (2 * square.grid**2 + SLICE)
            total += THUMBNAILS * 3 * square.size**2
        return total


def _square(scorer: Scorer | Square) -> Square:
    return scorer if isinstance(scorer, Square) else scorer.model.square
