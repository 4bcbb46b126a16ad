"""Results to export, and the stacks and slices that exporters write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medscan.archive import BURNED_IN, Stack
from medscan.choices import Grid, SegType
from medscan.errors import ExportError, FileError, UsageError
from medscan.files import make_folder
from medscan.imaging import Window
from medscan.planning import maker_of
from medscan.reading import Sources, check_picture, measure, render
from medscan.report import Scale
from medscan.results import Results, StackResult, State, StudyResult
from medscan.scoring import TEXTUAL

MOST_KEY_SLICES = 10
"""Key slices per stack at most."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A study or stack that was left out, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Results on their way into a folder.

    Parameters
    ----------
    results : sequence of Results
        Each study in only one of them; see `medscan.results.select_studies`.
    out : Path
        Folder; made if missing.
    sources : Sources or None
        Files of the scanned archive, for formats that need them.
    grid : Grid
        Grid of NIfTI volumes and Parametric Maps.
    with_source : bool
        NIfTI: also write the source of each map.
    seg_type : SegType
        Kind of DICOM Segmentations.
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
        detectors = {str(d["hash"]): d for file in self.results for d in file.run().detectors}
        object.__setattr__(self, "detectors", detectors)

    def studies(self) -> Iterator[StudyResult]:
        """Every study, ordered by file and key."""
        for file in self.results:
            yield from file.studies()

    @property
    def archive(self) -> Sources:
        """The sources.

        Raises
        ------
        UsageError
            If the job has none.
        """
        if self.sources is None:
            raise UsageError("source files are needed: name their folder with --archive")
        return self.sources

    def source(self, study: StudyResult, stack: StackResult) -> Stack:
        """Find the source of a stack, which still looks as it did when it was scanned.

        Thumbnails tell, unless another preprocessing drew them.

        Raises
        ------
        SourceError
            If a file is missing or has changed.
        FileError
            If a slice of which the results hold a thumbnail cannot be read.
        """
        source = self.archive.stack(study, stack)
        pictured = stack.thumbnail_index.tolist()
        if pictured and self._drew(stack):
            frames = [source.frames[index] for index in pictured]
            slices = render(source, frames, int(stack.info["size"]), self.window(stack, source))
            for index, drawn in zip(pictured, slices, strict=True):
                if isinstance(drawn, FileError):
                    raise drawn
                check_picture(stack, index, drawn.image)
        return source

    def _drew(self, stack: StackResult) -> bool:
        """Whether the preprocessing that drew a stack is the one that is here."""
        detector = self.detector(stack)
        maker = maker_of(str(detector["hash"]), str(detector.get("backbone_hash", "")))
        return bool(stack.info.get("maker") == maker)

    def window(self, stack: StackResult, source: Stack) -> Window:
        """Measure the window that a stack was scanned with again on its source."""
        return _window(source, self.detector(stack)["window"], str(stack.info["modality"]))

    def detector(self, stack: StackResult) -> dict[str, Any]:
        """Entry of `RunInfo.detectors` for the detector that scored a stack.

        Raises
        ------
        ExportError
            If the results do not describe it.
        """
        detector = self.detectors.get(str(stack.info["detector_hash"]))
        if detector is None:
            raise ExportError("the results do not describe its detector")
        return detector

    def scale(self, stack: StackResult) -> Scale:
        """Colour scale of a stack's detector; its middle is the threshold for patches.

        Raises
        ------
        ExportError
            If the detector is not calibrated.
        """
        scale = Scale.of(self.detector(stack))
        if scale is None:
            raise ExportError("its detector is not calibrated, so patches have no threshold")
        return scale


@lru_cache(maxsize=1)
def _window(source: Stack, rule: str, modality: str) -> Window:
    return measure(source, rule, modality)


Exporter = Callable[[ExportJob], Iterator[Path | LeftOut]]
"""Writes files one by one, and yields the path of each, or what was left out."""


def each_stack(
    job: ExportJob, write: Callable[[ExportJob, StudyResult, StackResult], Iterator[Path]]
) -> Iterator[Path | LeftOut]:
    """Write every stack with a scored slice, ordered by study and stack."""
    make_folder(job.out)
    for study in job.studies():
        for stack in study.stacks:
            if stack.count(State.SCORED):
                try:
                    yield from write(job, study, stack)
                except (ExportError, FileError) as error:
                    yield LeftOut(f"study {study.key}, stack {stack.key}", str(error))


def scored_slices(stack: StackResult) -> list[int]:
    """Indices of the scored slices: those with a map."""
    indices: list[int] = np.flatnonzero(stack.state == State.SCORED).tolist()
    return indices


def key_slices(stack: StackResult) -> list[int]:
    """Indices of the slices to look at: those that reach the threshold, highest score first.

    At most ten; the highest alone if it does not reach the threshold; empty if no slice was scored.
    """
    ranked = stack.ranked()
    reached = sum(stack.slice_score[index] >= stack.info["slice_threshold"] for index in ranked)
    return ranked[: min(max(reached, 1), MOST_KEY_SLICES)]


def may_carry_text(stack: StackResult) -> bool:
    """Whether a stack's pixels may hold burned-in text that names the patient."""
    info = stack.info
    withheld = str(info.get("thumbnails", "")).startswith("withheld")
    return withheld or BURNED_IN in info["notes"] or info["modality"] in TEXTUAL
