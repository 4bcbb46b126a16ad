"""A finished study: its part file, and what the scan records of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medscan import results
from medscan.results import State, StudyResult, Work
from medscan.scoring import HEADER_UNUSED


@dataclass(frozen=True, slots=True)
class FinishedStudy:
    """What a scan records of a study whose part file is written.

    Parameters
    ----------
    study : str
        Key of the study.
    work : Work or None
        How its result came about.
    decoder_failure : str
        How its decoder died; empty if it did not.
    flagged, uncertain, unlike : bool
    stacks : int
        Stacks that were given to a detector.
    slices, failed, passed_over : int
        Slices that were scored, that could not be, and that nobody asked for.
    seconds : float
    header_unused : int
        Stacks of which slices were drawn without what their header says of showing them.
    """

    study: str
    work: Work | None
    decoder_failure: str
    flagged: bool
    uncertain: bool
    unlike: bool
    stacks: int
    slices: int
    failed: int
    passed_over: int
    seconds: float
    header_unused: int

    def facts(self) -> dict[str, Any]:
        """Return what the log says of the study."""
        names = ("study", "slices", "failed", "seconds", "flagged")
        return {name: getattr(self, name) for name in names}


def finish_study(parts: Path, study: StudyResult, decoder_failure: str) -> FinishedStudy:
    """Write the part file of a study.

    Raises
    ------
    medscan.errors.DiskError
        If it cannot be written.
    """
    results.write_part(parts / f"{study.key}.h5", study)
    new = [stack for stack in study.stacks if stack.key not in study.mark.kept]
    return FinishedStudy(
        study=study.key,
        work=study.work,
        decoder_failure=decoder_failure,
        flagged=study.flagged,
        uncertain=study.uncertain,
        unlike=study.unlike,
        stacks=len(new),
        slices=sum(stack.count(State.SCORED) for stack in new),
        failed=sum(stack.count(State.FAILED) for stack in new),
        passed_over=sum(stack.count(State.PASSED_OVER) for stack in new),
        seconds=sum(float(stack.info["seconds"]) for stack in new[:1]),
        header_unused=sum(HEADER_UNUSED in stack.info["notes"] for stack in new),
    )
