"""A finished study: its part file, and what is noted of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medscan import results
from medscan.results import State, StudyResult, Work


@dataclass(frozen=True, slots=True)
class FinishedStudy:
    """What is noted of a study whose part file is written.

    Parameters
    ----------
    study : str
        Key.
    work : Work or None
        How its result came about.
    died : str
        What became of its decoder, if that died.
    flagged : bool
    slices, failed : int
        Scored, and that could not be.
    seconds : float
    """

    study: str
    work: Work | None
    died: str
    flagged: bool
    slices: int
    failed: int
    seconds: float

    def facts(self) -> dict[str, Any]:
        """What the log says of it."""
        names = ("study", "slices", "failed", "seconds", "flagged")
        return {name: getattr(self, name) for name in names}


def finish_study(parts: Path, study: StudyResult, died: str) -> FinishedStudy:
    """Write the part file of a study.

    Raises
    ------
    medscan.errors.DiskError
        It could not be written.
    """
    results.write_part(parts / f"{study.key}.h5", study)
    return FinishedStudy(
        study=study.key,
        work=study.work,
        died=died,
        flagged=study.flagged,
        slices=int(study.info["slices"]),
        failed=sum(int((stack.state == State.FAILED).sum()) for stack in study.stacks),
        seconds=sum(float(stack.info["seconds"]) for stack in study.stacks[:1]),
    )
