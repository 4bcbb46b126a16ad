"""Results of studies and stacks. Shapes: n slices, G patches per side, k thumbnails."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class State(IntEnum):
    """Whether a slice was scored, and if not, why."""

    SCORED = 0
    BACKGROUND = 1
    FAILED = 2
    PASSED_OVER = 3
    """It lies between scored ones, and the scan was asked not to score every slice."""


@dataclass(frozen=True, slots=True)
class StackResult:
    """Slice scores and maps of one stack, on the model's own patch grid.

    Parameters
    ----------
    key : str
        Name of its group in the file.
    info : dict
        Scalars: SeriesInstanceUID, modality, body_part, sequence (of its detector's domain),
        plane, kind, detector, detector_hash, method, slice_threshold (the detector's), threshold
        and provisional (of a stack with as many slices), rows, columns, patch, size, thumbnails
        ("kept", or why not), seconds, and `notes` and `assumed`, lists of str. `orientation` (6),
        `pixel_spacing` (2, rows then columns, mm) and `origin` (3) and `last` (3: the first pixel
        of the first and of the last slice) are lists in the patient's LPS frame, empty when
        unknown; `slice_spacing` is NaN when unknown. `frame_of_reference` is the UID of that frame,
        empty when unknown, missing in files of older versions. Of a NIfTI volume, `qform` and
        `sform` are lists of 16 floats, row by row, from (column, row, slice) to RAS millimetres,
        empty where the header has none, and `form_codes` holds its qform_code and sform_code.
        `device` is a list of what scanned it and how: see `scoring.device`.
        `description` is there only with `--identify`, `uncertain_from` only if scores from there up
        to the threshold are uncertain, `distance` and the list of str `unlike` only if its detector
        has a gate, see `medscan.gate`. `stack`, `source`, `asked`, `maker` and `scanned` are those
        of its `Score`.
    score : float
        Score of the whole stack, by the file's aggregation rule; NaN when no slice was scored.
    percentile : float
        Percentage of normal stacks with as many slices that have a lower score.
    slice_score : float32 (n,)
        NaN where a slice was not scored.
    state : uint8 (n,)
        `State` of each slice, as a number.
    heatmap : float16 (n, G, G)
        Zero where a slice was not scored.
    path : list of str
        File of each slice below the archive root.
    sop_instance_uid : list of str
    frame : int32 (n,)
        Frame in the file, as in `medscan.archive.Frame.index`.
    position_mm : float64 (n,)
        Along the normal; NaN when unknown.
    grid_to_pixel : float64 (n, 2, 3)
        (i, j, 1) of a patch centre, column then row -> (x, y) of the stored frame's pixel centres.
    thumbnail : uint8 (k, S, S, C)
        The model's squares of the k slices with the highest scores, C = 1 or 3; k may be 0.
    thumbnail_index : int32 (k,)
        Indices of these slices in the arrays above, highest score first.
    """

    key: str
    info: dict[str, Any]
    score: float
    percentile: float
    slice_score: NDArray[np.float32]
    state: NDArray[np.uint8]
    heatmap: NDArray[np.float16]
    path: list[str]
    sop_instance_uid: list[str]
    frame: NDArray[np.int32]
    position_mm: NDArray[np.float64]
    grid_to_pixel: NDArray[np.float64]
    thumbnail: NDArray[np.uint8]
    thumbnail_index: NDArray[np.int32]

    def count(self, state: State) -> int:
        """Return the number of its slices in a state."""
        return int(np.count_nonzero(self.state == state))

    def ranked(self) -> list[int]:
        """Return the indices of its scored slices, the highest score first, then in their order."""
        scored = np.flatnonzero(self.state == State.SCORED)
        order = np.argsort(-self.slice_score[scored], kind="stable")
        return [int(index) for index in scored[order]]

    @property
    def assumed(self) -> list[str]:
        """What its header does not say, and its detector asks for, such as "modality MR"."""
        return [str(part) for part in self.info.get("assumed") or []]

    @property
    def source_key(self) -> str:
        """Key of the stack in the archive: results of two detectors may share it."""
        return str(self.info.get("stack") or self.key)

    @property
    def series(self) -> str:
        """What its series is told by within the study: its UID, or of a volume the key."""
        return str(self.info["SeriesInstanceUID"]) or self.key.partition("-")[0]

    @property
    def flagged(self) -> bool:
        """Whether the score reaches the detector's threshold."""
        return bool(self.score >= self.info["threshold"])

    @property
    def uncertain(self) -> bool:
        """Whether the detector neither flags it nor may clear it; see `normals.Accepted`."""
        low = self.info.get("uncertain_from", math.inf)
        return bool(low <= self.score < self.info["threshold"])

    @property
    def unlike(self) -> list[str]:
        """Why it is unlike what its detector was fitted on; empty if it is not, or nobody knows."""
        return [str(part) for part in self.info.get("unlike") or []]

    @property
    def open(self) -> bool:
        """Whether it is not flagged, but a person has to look: it is uncertain, or unlike."""
        return not self.flagged and (self.uncertain or bool(self.unlike))


class Score(NamedTuple):
    """How the score of one stack came about.

    Parameters
    ----------
    group : str
        Key of the stack's result in the study.
    stack : str
        Key of the stack in the archive: two detectors may have scored the same one.
    detector : str
        Name of the detector.
    source, asked, maker : str
        Hashes of the stack's files, of what was asked of them, and of what answered; see
        `medscan.planning.plan.Task`. Empty in files of older versions.
    scanned : str
        When it was scored, ISO 8601, UTC.
    """

    group: str
    stack: str
    detector: str
    source: str = ""
    asked: str = ""
    maker: str = ""
    scanned: str = ""

    @property
    def when(self) -> str:
        """The day on which it was scored, in words."""
        return f"on {self.scanned[:10]}" if self.scanned else "by an earlier version of medscan"


@dataclass(frozen=True, slots=True)
class Work:
    """How a study's result came about; the next scan decides by it whether to scan again.

    Parameters
    ----------
    content : str
        Hash of files and options; see `medscan.planning.plan.Task`.
    maker : str
        Hash of the versions that made the result; see there too.
    root : str
        Pseudonym of the archive root that its files lie below.
    tools : str
        Versions and limits that files were read with (`Inputs.tools`): a study with failures is
        tried again when they change.
    outcomes : list of [path, reason, detail]
        Outcome of each of its files, in the order of their paths below the archive root.
    scores : tuple of Score
        Of its stacks, in the order of their keys.
    """

    content: str
    maker: str
    root: str
    tools: str
    outcomes: list[list[str]]
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """How later scans have marked a result.

    Parameters
    ----------
    stale : bool
        Whether a detector, or the preprocessing, has changed since.
    absent : str
        When a scan first found its files missing, ISO 8601, UTC; empty while they exist.
    kept : tuple of str
        Keys of the stacks that the last scan did not give to their detector: their scores are
        those of an earlier scan.
    skipped : str
        JSON: the stacks that the last scan did not score, as in `StudyResult.info`; empty for none.
    """

    stale: bool = False
    absent: str = ""
    kept: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class StudyResult:
    """Result of one study; its score is the highest of its stacks'.

    Parameters
    ----------
    key : str
        Name of its group in the file.
    info : dict
        StudyInstanceUID, date (YYYYMMDD or ""), modality, patient (keyed pseudonym), person (keyed
        pseudonyms of date of birth, sex and issuer of the PatientID, divided by slashes, which
        compare within one patient only; empty or missing if nothing is known), path (the folder or
        file below the archive root), slices (number scored), and with `--identify` also patient_id,
        accession_number, age and sex. `skipped`: list of [description, reason, sentences] for
        stacks that were not scored; files of older versions have no sentences. When
        read from a file also `root`, as in `Work`, if it has one.
    score, percentile : float
        Those of the stack with the highest score; NaN when nothing was scored.
    flagged : bool
        Whether any stack's score reaches its detector's threshold.
    stacks : tuple of StackResult
    work : Work or None
        None if it was not read, or an older medscan wrote the file.
    mark : Mark
    """

    key: str
    info: dict[str, Any]
    score: float
    percentile: float
    flagged: bool
    stacks: tuple[StackResult, ...] = ()
    work: Work | None = None
    mark: Mark = Mark()

    @property
    def uncertain(self) -> bool:
        """Whether it is not flagged, but a stack of it may not be cleared."""
        return not self.flagged and any(stack.uncertain for stack in self.stacks)

    @property
    def unlike(self) -> bool:
        """Whether a scored stack is unlike what its detector was fitted on, flagged or not."""
        return any(stack.unlike for stack in self.stacks if not math.isnan(stack.score))

    @property
    def open(self) -> bool:
        """Whether it is not flagged, but a person has to look at it."""
        return not self.flagged and (self.uncertain or self.unlike)

    def kept_from(self, stack: StackResult) -> str:
        """Return when a stack was scored that the last scan did not ask for; else empty."""
        return str(stack.info["scanned"]) if stack.key in self.mark.kept else ""


def merge_results(study: StudyResult, older: StudyResult) -> StudyResult:
    """Add to a study the series that only an older result has scored, and update its score.

    Two scans with detectors of different domains each score some series of a study.
    """
    series = {s.series for s in study.stacks if not math.isnan(s.score)}
    scored = [s for s in older.stacks if not math.isnan(s.score)]
    added = {s.key: s for s in scored if s.series not in series}
    if not added:
        return study
    stacks = {s.key: s for s in study.stacks} | added
    worst = max((s for s in stacks.values() if not math.isnan(s.score)), key=lambda s: s.score)
    # A description in `skipped` starts with the key of its stack.
    skipped = [e for e in study.info.get("skipped") or [] if str(e[0]).split(" ")[0] not in added]
    slices = sum(s.count(State.SCORED) for s in stacks.values())
    kept = (*study.mark.kept, *(key for key in older.mark.kept if key in added))
    return replace(
        study,
        mark=replace(study.mark, kept=kept),
        info=study.info | {"skipped": skipped, "slices": slices},
        score=worst.score,
        percentile=worst.percentile,
        flagged=study.flagged or any(s.flagged for s in added.values()),
        stacks=tuple(stacks[key] for key in sorted(stacks)),
    )


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Attributes and tables of the root of results.h5.

    Parameters
    ----------
    created : str
        ISO 8601, UTC.
    command : str
        The command line without paths above the archive roots.
    aggregation : str
        The rule that makes stack and study scores from slice scores, in words.
    detectors : list of dict
        name, hash, method, protocol, backbone, backbone_hash, domain, window, threshold,
        target_fpr, provisional, map_low, map_high, masked and tried_on_own (not in older files),
        licence, backbone_licence, `normals` (sorted out-of-sample scores of normal slices), and
        `normal_stacks` (those of whole normal stacks, slice by slice).
    damage : list of str
        Sentences about entries of detectors that were left out because they are damaged.
    counts : dict
        Number of files in each bucket, scanned, skipped and failed, and their sum `files`.
    seconds : float
        Duration of the scan that wrote the file, up to writing it; NaN when unknown.
    slices : int
        Slices that this scan scored.
    repeated : int
        Of these, how many have the pixels of another, and so its score and map.
    key_fingerprint : str
        Fingerprint of the key that pseudonyms were made with.
    precision, plane : str
        Precision of the scan, and the plane that volumes were cut in, empty for none; both are
        empty in files of older versions.
    identify, hash_paths : bool
        Whether identities were written unchanged, and paths as hashes.
    shard : str
        Shard of the archive that was scanned, such as 3/16; empty: all of it.
    link_template : str
        Template of links to its studies as the file has it, which may not be valid; see
        `medscan.links`. Empty: none.
    """

    created: str
    command: str
    aggregation: str
    detectors: list[dict[str, Any]]
    counts: dict[str, int]
    version: str = ""
    failures: list[tuple[str, str, str, str]] = field(default_factory=list)
    """path, stage, reason, message."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """path, reason."""
    seconds: float = math.nan
    slices: int = 0
    key_fingerprint: str = ""
    precision: str = ""
    plane: str = ""
    identify: bool = False
    hash_paths: bool = True
    shard: str = ""
    link_template: str = ""
    damage: list[str] = field(default_factory=list)
    repeated: int = 0
