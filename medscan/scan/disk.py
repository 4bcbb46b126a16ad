"""Whether there is room for results, and whether an archive is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from medscan.files import free_bytes
from medscan.options import Outputs
from medscan.planning import Task
from medscan.scoring import THUMBNAILS, Scorer

STUDY, STACK, SLICE, FILE = 8 << 10, 32 << 10, 256, 256
"""Bytes in a results file beside maps and pictures."""
SPARE = 8 << 20
"""Bytes for what is written beside the results: ledger, worklist."""


def is_there(root: Path) -> bool:
    """Whether a folder holds anything: one that is not mounted is gone or empty."""
    try:
        with os.scandir(root) as found:
            return any(True for _ in found)
    except OSError:
        return False


class Square(NamedTuple):
    """Sides of what a detector sees and of the maps it makes, pixels and cells."""

    size: int
    grid: int


class Room:
    """Keeps so much of the disk free that what is scanned can be published.

    Old results, part files and new results lie there together for a moment.

    Parameters
    ----------
    outputs : Outputs
    scorers : mapping
        Scorers, or squares, by hash of their detector.
    """

    def __init__(self, outputs: Outputs, scorers: Mapping[str, Scorer | Square]) -> None:
        self.out, self.folder = outputs.out, outputs.parts
        self.squares = {digest: _square(scorer) for digest, scorer in scorers.items()}
        self.old = self.out.stat().st_size if self.out.exists() else 0
        self.promised = 0

    @cached_property
    def parts(self) -> int:
        """Bytes of the part files."""
        parts = self.folder.glob("*.h5") if self.folder.is_dir() else ()
        return sum(part.stat().st_size for part in parts)

    def lack(self, task: Task) -> str:
        """What is missing for scanning one more study, in words; empty when there is room."""
        size = self.estimate(task)
        needed = self.old + self.parts + 2 * (self.promised + size) + SPARE
        free = free_bytes(self.out.parent)
        if free < needed:
            return (
                f"{self.out.parent} has {free >> 20} MiB free; the next study and publishing "
                f"need {(needed >> 20) + 1} MiB"
            )
        self.promised += size
        return ""

    def wrote(self, task: Task) -> None:
        """The part of a study that there was room for is on the disk."""
        size = self.estimate(task)
        self.promised -= size
        self.parts += size

    def estimate(self, task: Task) -> int:
        """Bytes that the part of a study takes at most."""
        total = STUDY + FILE * len(task.study.files())
        for _, stack, detector in task.stacks:
            square = self.squares[detector.digest]
            total += STACK + len(stack.frames) * (2 * square.grid**2 + SLICE)
            total += THUMBNAILS * 3 * square.size**2
        return total


def _square(scorer: Scorer | Square) -> Square:
    if isinstance(scorer, Square):
        return scorer
    backbone = scorer.method.backbone
    return Square(backbone.size, backbone.grid)
