"""What is exported, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medscan.archive import BURNED_IN
from medscan.choices import Grid, SegType
from medscan.errors import ExportError, FileError, UsageError
from medscan.files import make_folder
from medscan.reading import Sources
from medscan.report import Scale
from medscan.results import Results, StackResult, State, StudyResult
from medscan.scoring import TEXTUAL

MOST_KEY_SLICES = 10


@dataclass(frozen=True, slots=True)
class Left:
    """What was left out, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Results on their way into a folder.

    Parameters
    ----------
    results : sequence of Results
        Every study in one of them only; see `medscan.results.select_studies`.
    out : Path
        Folder; made if missing.
    sources : Sources or None
        The archive that was scanned, for formats that need its files.
    grid : Grid
        Of NIfTI and Parametric Maps.
    with_source : bool
        NIfTI: write what the maps lie on too.
    seg_type : SegType
    """

    results: Sequence[Results]
    out: Path
    sources: Sources | None = None
    grid: Grid = Grid.SOURCE
    with_source: bool = False
    seg_type: SegType = SegType.BINARY
    detectors: dict[str, dict[str, Any]] = field(init=False)
    """Entries of `RunInfo.detectors` by hash."""

    def __post_init__(self) -> None:
        found = {str(d["hash"]): d for file in self.results for d in file.run().detectors}
        object.__setattr__(self, "detectors", found)

    def studies(self) -> Iterator[StudyResult]:
        """Every study, by file and key."""
        for file in self.results:
            yield from file.studies()

    @property
    def archive(self) -> Sources:
        """The sources.

        Raises
        ------
        UsageError
            There are none.
        """
        if self.sources is None:
            raise UsageError("source files are needed: name their folder with --archive")
        return self.sources

    def detector(self, stack: StackResult) -> dict[str, Any]:
        """What the results say of the detector that scored a stack.

        Raises
        ------
        ExportError
            Nothing.
        """
        found = self.detectors.get(str(stack.info["detector_hash"]))
        if found is None:
            raise ExportError("the results do not say what its detector is")
        return found

    def scale(self, stack: StackResult) -> Scale:
        """From patch scores to colours; its middle is the threshold for patches.

        Raises
        ------
        ExportError
            The detector is not calibrated.
        """
        found = Scale.of(self.detector(stack))
        if found is None:
            raise ExportError("its detector is not calibrated: there is no threshold for patches")
        return found


Exporter = Callable[[ExportJob], Iterator[Path | Left]]
"""Writes files one by one, and tells of each what it is or what is missing and why."""


def each_stack(
    job: ExportJob, write: Callable[[ExportJob, StudyResult, StackResult], Iterator[Path]]
) -> Iterator[Path | Left]:
    """Write every stack with a scored slice, in order of study and stack."""
    make_folder(job.out)
    for study in job.studies():
        for stack in study.stacks:
            if (stack.state == State.SCORED).any():
                try:
                    yield from write(job, study, stack)
                except (ExportError, FileError) as error:
                    yield Left(f"study {study.key}, stack {stack.key}", str(error))


def scored(stack: StackResult) -> list[int]:
    """Places of the slices that have a map."""
    found: list[int] = np.flatnonzero(stack.state == State.SCORED).tolist()
    return found


def key_slices(stack: StackResult) -> list[int]:
    """Places of the slices to look at: those that reach the detector's threshold, worst first.

    At most ten; the worst one where none reaches it, none where no slice was scored.
    """
    score = np.where(stack.state == State.SCORED, stack.slice_score, -np.inf)
    order = np.argsort(-score, kind="stable")[: len(scored(stack))]
    reached = int((score >= stack.info["slice_threshold"]).sum())
    found: list[int] = order[: min(max(reached, 1), MOST_KEY_SLICES)].tolist()
    return found


def may_carry_text(stack: StackResult) -> bool:
    """Whether text that names the patient may be burned into its pixels."""
    info = stack.info
    withheld = str(info.get("thumbnails", "")).startswith("withheld")
    return withheld or BURNED_IN in info["notes"] or info["modality"] in TEXTUAL
