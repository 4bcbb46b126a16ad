"""Put slice scores together to results of stacks and studies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.archive import (
    BURNED_IN,
    ArchiveFile,
    Bucket,
    Kind,
    Outcome,
    Pseudonyms,
    Reason,
    Series,
    Stack,
    Study,
)
from medscan.detector import Detector
from medscan.errors import FileError, OverflowedError
from medscan.gate import acquired
from medscan.imaging import Letterbox, Slice
from medscan.normals import Calibration
from medscan.reading import CHUNK, DrawJob
from medscan.results import StackResult, State, StudyResult, Work
from medscan.runtimes import AS_CALIBRATED, Computed
from medscan.scoring.aggregate import aggregate, stack_calibration, top_count
from medscan.scoring.device import device_of
from medscan.scoring.spacing import first_slices, further_slices, runs_of

THUMBNAILS = 3
KEPT = "kept"
HEADER_UNUSED = "its header would draw it flat: measured instead"
"""Note on stacks with slices drawn without the window, table or padding of their header."""
TILES_IDLE = "no larger than a tile: tiles show no more of it than the whole"
"""Note on stacks that are too small for a detector with tiles."""
# Modalities whose pixels often hold burned-in text, which may name the patient.
TEXTUAL = ("US", "SC", "OT", "XC", "IVUS", "ES")


def thumbnail_policy(modality: str, stack: Stack, *, wanted: bool, burned_in: bool = False) -> str:
    """Return `KEPT` if a stack's thumbnails may be kept, else the reason why not."""
    if not wanted:
        return "not asked for"
    textual = modality in TEXTUAL or BURNED_IN in stack.notes or stack.kind is Kind.PICTURE
    return "withheld: may carry burned-in text" if textual and not burned_in else KEPT


@dataclass(slots=True)
class StackBuilder:
    """Collects the results of a stack's slices, which may come in any order.

    Slices are addressed by their index in `stack.frames`.

    Parameters
    ----------
    series, stack : Series, Stack
    detector : Detector
    size, grid, patch : int
        Side of the backbone's square in pixels, of its patch grid in patches, and of a patch in
        pixels.
    thumbnails : str
        See `thumbnail_policy`: "kept", or why no thumbnails are.
    assumed : tuple of str
        What the stack does not say, and its detector asks for, such as "modality MR".
    computed : Computed
    every_mm : float or None
        See `first_slices`.
    tile : int
        Side in pixels of what the backbone sees at once; 0: of the square.
    """

    series: Series
    stack: Stack
    detector: Detector
    size: int
    grid: int
    patch: int
    thumbnails: str
    assumed: tuple[str, ...] = ()
    computed: Computed = AS_CALIBRATED
    every_mm: float | None = None
    tile: int = 0
    score: NDArray[np.float32] = field(init=False)
    state: NDArray[np.uint8] = field(init=False)
    heatmap: NDArray[np.float16] = field(init=False)
    distance: NDArray[np.float32] = field(init=False)
    errors: dict[int, FileError] = field(init=False, default_factory=dict)
    remaining: int = field(init=False)
    header_unused: bool = field(init=False, default=False)
    _kept: dict[int, NDArray[np.float32]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.stack.frames)
        first = first_slices([f.position_mm for f in self.stack.frames], self.every_mm)
        self.remaining = len(first)
        self.score = np.full(count, np.nan, np.float32)
        self.distance = np.full(count, np.nan, np.float32)
        self.state = np.full(count, State.PASSED_OVER, np.uint8)
        self.state[first] = State.FAILED  # until something better is known
        self.heatmap = np.zeros((count, self.grid, self.grid), np.float16)

    def jobs(
        self, max_file_bytes: int, study: str = "", companions: tuple[ArchiveFile, ...] = ()
    ) -> Iterator[DrawJob]:
        """Divide the slices to score first into jobs for the processes that draw."""
        asked = np.flatnonzero(self.state != State.PASSED_OVER)
        yield from self._jobs(asked.tolist(), max_file_bytes, study, companions)

    def further_jobs(
        self, max_file_bytes: int, study: str = "", companions: tuple[ArchiveFile, ...] = ()
    ) -> list[DrawJob]:
        """Ask for the slices that the flag may depend on, once none remains."""
        passed_over = self.state == State.PASSED_OVER
        if not passed_over.any():
            return []
        count = int(np.isfinite(self.score).sum() + passed_over.sum())
        normals = stack_calibration(self.detector.calibration, count)
        chosen = normals.accepted.uncertain_from if normals.accepted else None
        levels = [normals.threshold, *([] if chosen is None else [chosen])]
        asked = further_slices(self.score, passed_over, levels, top_count(count))
        self.state[asked] = State.FAILED
        self.remaining += len(asked)
        return list(self._jobs(asked, max_file_bytes, study, companions))

    def _jobs(
        self,
        indices: Sequence[int],
        max_file_bytes: int,
        study: str,
        companions: tuple[ArchiveFile, ...],
    ) -> Iterator[DrawJob]:
        """Jobs of slices that follow one another; see `DrawJob`."""
        frames = self.stack.frames
        for first, count in runs_of(indices, CHUNK):
            yield DrawJob(
                self.stack,
                first,
                frames[first : first + count],
                self.size,
                self.detector.window,
                self.series.modality,
                max_file_bytes,
                study,
                companions,
            )

    def fail(self, index: int, error: FileError) -> None:
        """Record a slice that could not be drawn or scored."""
        self.errors[index] = error
        self.remaining -= 1

    def skip(self, index: int) -> None:
        """Record a slice that is background."""
        self.state[index] = State.BACKGROUND
        self.remaining -= 1

    def keep_image(self, index: int, drawn: Slice) -> None:
        """Note how a slice was drawn; keep its image while it may become a thumbnail."""
        self.header_unused |= drawn.header_unused
        if self.thumbnails == KEPT:
            self._kept[index] = drawn.image

    def add_score(
        self, index: int, score: float, heatmap: NDArray[np.float16], distance: float = math.nan
    ) -> None:
        """Record the score and map of a slice, and its distance from the shots."""
        if not (math.isfinite(score) and np.isfinite(heatmap).all()):
            self._kept.pop(index, None)
            self.fail(index, OverflowedError("its score is not finite; use --precision fp32"))
            return
        self.score[index], self.heatmap[index] = score, heatmap
        self.distance[index] = distance
        self.state[index] = State.SCORED
        self.remaining -= 1
        # Let go of images that can be no thumbnail any more: memory holds few for each stack.
        for surplus in self._worst_kept()[THUMBNAILS:]:
            del self._kept[surplus]

    def _worst_kept(self) -> list[int]:
        """Return the scored slices whose image is kept, highest score first; ties by index."""
        scored = (i for i in self._kept if self.state[i] == State.SCORED)
        return sorted(scored, key=lambda i: (-self.score[i], i))

    def result(self, seconds: float, pseudonyms: Pseudonyms) -> StackResult:
        """Return the stack's result; call it once `remaining` is 0."""
        frames = self.stack.frames
        passed_over = int((self.state == State.PASSED_OVER).sum())
        score = aggregate(self.score, passed_over)
        count = int((~np.isnan(self.score)).sum()) + passed_over
        normals = stack_calibration(self.detector.calibration, count)
        worst = self._worst_kept()
        pictures = [self._kept[i].transpose(1, 2, 0) for i in worst]
        to_pixel = Letterbox.of(self.stack, self.size).grid_to_pixel(self.patch)
        return StackResult(
            key=self.stack.key,
            info=self._info(normals, seconds, identify=pseudonyms.identify),
            score=score,
            percentile=normals.percentile(score),
            slice_score=self.score,
            state=self.state,
            heatmap=self.heatmap,
            path=[pseudonyms.path(frame.file.path) for frame in frames],
            sop_instance_uid=[frame.sop_instance_uid for frame in frames],
            frame=np.array([frame.index for frame in frames], np.int32),
            position_mm=np.array(
                [math.nan if f.position_mm is None else f.position_mm for f in frames]
            ),
            grid_to_pixel=np.repeat(to_pixel[None], len(frames), 0),
            thumbnail=_thumbnails(pictures, self.size),
            thumbnail_index=np.array(worst, np.int32),
        )

    def _info(self, normals: Calibration, seconds: float, *, identify: bool) -> dict[str, Any]:
        stack, detector = self.stack, self.detector
        info: dict[str, Any] = {
            "SeriesInstanceUID": self.series.uid,
            "modality": self.series.modality,
            "body_part": self.series.body_part,
            "sequence": detector.domain.sequence,
            "plane": stack.plane or "",
            "kind": str(stack.kind),
            "detector": detector.name,
            "detector_hash": detector.digest,
            "method": detector.method,
            "threshold": normals.threshold,
            "slice_threshold": detector.calibration.threshold,
            "provisional": normals.provisional,
            "rows": stack.rows,
            "columns": stack.columns,
            "patch": self.patch,
            "size": self.size,
            "orientation": list(stack.orientation or ()),
            "pixel_spacing": list(stack.pixel_spacing or ()),
            "origin": list(stack.origin or ()),
            "last": list(stack.last or ()),
            "frame_of_reference": stack.frame_of_reference,
            "slice_spacing": math.nan if stack.slice_spacing is None else stack.slice_spacing,
            "qform": list(stack.qform),
            "sform": list(stack.sform),
            "form_codes": list(stack.form_codes),
            "notes": [*stack.notes, *self._notes()],
            "thumbnails": self.thumbnails,
            "assumed": list(self.assumed),
            "precision": str(self.computed.precision),
            "runtime": str(self.computed.runtime),
            "seconds": round(seconds, 3),
            "device": device_of(stack),
        }
        if normals.accepted and normals.accepted.uncertain_from is not None:
            info["uncertain_from"] = normals.accepted.uncertain_from
        if identify:
            info["description"] = self.series.description
        return info | self._gated()

    def _gated(self) -> dict[str, Any]:
        """Where the gate of the detector, if it has one, places the stack."""
        gate = self.detector.gate
        if gate is None:
            return {}
        # A distance that is no number is no proof of likeness.
        far = np.where(
            (self.state == State.SCORED) & np.isnan(self.distance), np.inf, self.distance
        )
        place = gate.place(far)
        return {"distance": place, "unlike": gate.beyond(place, acquired(self.stack))}

    def _files_in(self, state: State) -> set[ArchiveFile]:
        """Files with a slice in this state."""
        return {self.stack.frames[i].file for i in np.flatnonzero(self.state == state)}

    def _notes(self) -> list[str]:
        idle = 0 < max(self.stack.rows, self.stack.columns) <= self.tile < self.size
        return [HEADER_UNUSED] * self.header_unused + [TILES_IDLE] * idle

    def outcomes(self) -> dict[ArchiveFile, Outcome]:
        """Return the outcome of each file: failed if any of its frames failed."""
        outcomes: dict[ArchiveFile, Outcome] = {}
        scored, unseen = map(self._files_in, (State.SCORED, State.PASSED_OVER))
        failed = Counter(self.stack.frames[i].file for i in self.errors)
        total = Counter(frame.file for frame in self.stack.frames)
        for index, frame in enumerate(self.stack.frames):
            error = self.errors.get(index)
            if error is not None:
                count = total[frame.file]
                part = f" ({failed[frame.file]} of {count} frames)" if count > 1 else ""
                reason = Reason(error.reason)
                outcomes.setdefault(frame.file, Outcome(frame.file, reason, f"{error}{part}"))
            elif frame.file not in failed:
                reason = Reason.SCANNED if frame.file in scored else Reason.BACKGROUND
                if frame.file in unseen - scored:
                    reason = Reason.PASSED_OVER
                outcomes[frame.file] = Outcome(frame.file, reason)
        return outcomes


def file_outcomes(builders: Iterable[StackBuilder]) -> list[Outcome]:
    """Return one outcome per file, by path: failed if failed in any stack, else scanned if in any.

    A multi-frame file may belong to several stacks.
    """
    order = {Bucket.FAILED: 0, Bucket.SCANNED: 1, Bucket.SKIPPED: 2}
    outcomes: dict[ArchiveFile, Outcome] = {}
    for builder in builders:
        for file, outcome in builder.outcomes().items():
            earlier = outcomes.get(file, outcome)
            outcomes[file] = min(earlier, outcome, key=lambda o: order[o.bucket])
    return [outcomes[file] for file in sorted(outcomes)]


def _thumbnails(pictures: list[NDArray[np.float32]], size: int) -> NDArray[np.uint8]:
    """Return pictures as one array (k, S, S, C) in 0..255: grey if all are grey, else colour."""
    if not pictures:
        return np.zeros((0, size, size, 1), np.uint8)
    channels = max(p.shape[2] for p in pictures)
    full = [np.broadcast_to(p, (*p.shape[:2], channels)) for p in pictures]
    return np.round(np.stack(full) * 255).astype(np.uint8)


def study_result(
    study: Study,
    stacks: list[StackResult],
    skipped: list[list[str]],
    pseudonyms: Pseudonyms,
    work: Work | None = None,
) -> StudyResult:
    """Put a study's result together from those of its stacks.

    Parameters
    ----------
    study : Study
    stacks : list of StackResult
    skipped : list of [description, reason]
        Stacks that were not scanned.
    pseudonyms : Pseudonyms
        Pseudonyms that the study was indexed with.
    work : Work or None
        How the result came about.
    """
    info: dict[str, Any] = {
        "StudyInstanceUID": study.uid,
        "date": study.date,
        "modality": "/".join(sorted({s.modality for s in study.series if s.modality})),
        "patient": pseudonyms.patient_of(study.patient_id),
        "person": pseudonyms.person_of(study.patient_id, study.person),
        "path": pseudonyms.path(study.place),
        "slices": sum(s.count(State.SCORED) for s in stacks),
        "skipped": skipped,
    }
    if pseudonyms.identify:
        info |= {"patient_id": study.patient_id, "accession_number": study.accession_number}
        info |= {"age": study.said("PatientAge"), "sex": study.said("PatientSex")}
    scored = [s for s in stacks if not math.isnan(s.score)]
    worst = max(scored, key=lambda s: s.score, default=None)
    return StudyResult(
        key=study.key,
        info=info,
        score=math.nan if worst is None else worst.score,
        percentile=math.nan if worst is None else worst.percentile,
        flagged=any(s.flagged for s in scored),
        stacks=tuple(stacks),
        work=work,
    )
