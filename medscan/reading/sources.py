"""Find the files that results were made from in their archives again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medscan import archive
from medscan.archive import ArchiveFile, Frame, Kind, Outcome, Pseudonyms, Stack
from medscan.choices import Plane
from medscan.errors import SourceError

if TYPE_CHECKING:  # its libraries take a fifth of the time in which a worker process begins
    from medscan.results import StackResult, StudyResult

GEOMETRY = ("orientation", "pixel_spacing", "qform", "sform", "form_codes")
"""What results record of a stack under the names that `Stack` has for it."""
RELATIVE, ABSOLUTE = 1e-4, 1e-3
"""Numbers that differ by less, for one of the two reasons, differ by rounding."""
GREYS = 2.0
"""Largest mean difference from its thumbnail, of 255, for a picture to count as unchanged."""
_CHANGED = "its source has changed since it was scanned"


class _LocatedStack(NamedTuple):
    study: str
    root: str
    stack: Stack


class _LocatedFrame(NamedTuple):
    """A frame as the archives hold it now: a stack of theirs, and its place in that."""

    stack: Stack
    number: int

    @property
    def file(self) -> ArchiveFile:
        """Its file."""
        return self.stack.frames[self.number].file

    @property
    def end(self) -> tuple[float, float, float] | None:
        """LPS position of its first pixel, if it is the first or the last of the stack."""
        if self.number == 0:
            return self.stack.origin
        return self.stack.last if self.number == len(self.stack.frames) - 1 else None


@dataclass(frozen=True, slots=True)
class _Contents:
    """Contents of the archives.

    Parameters
    ----------
    instances : dict
        Frames of DICOM instances by number, by the UIDs of series and instance.
    stacks : dict
        Stacks by key.
    """

    instances: defaultdict[tuple[str, str], dict[int, _LocatedFrame]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    stacks: defaultdict[str, list[_LocatedStack]] = field(default_factory=lambda: defaultdict(list))


class Sources:
    """Source files of results, even if they have moved within the archives since the scan.

    A DICOM instance is identified by its UIDs. Any other file is identified by its path, from which
    the key of its stack is made, and by the archive root: the same path below another root is
    another file. Results of older versions do not record the root; there the study's key decides.

    Parameters
    ----------
    roots : iterable of Path
        Folders or files.
    keys : iterable of Pseudonyms or None
        Pseudonyms that the results were written with.
    names : collection of str, optional
        Paths, as written in the results, of all files that will be asked for. If all of them exist,
        only their headers are read.
    workers : int
        Processes that read headers.
    hoped : collection of str
        Paths of files that will be asked for as well, but may be gone: they are not looked for
        elsewhere.
    """

    def __init__(
        self,
        roots: Iterable[Path],
        keys: Iterable[Pseudonyms | None] = (None,),
        names: Collection[str] | None = None,
        workers: int = 1,
        hoped: Collection[str] = (),
    ) -> None:
        self._roots, self._keys, self._workers = tuple(roots), tuple(dict.fromkeys(keys)), workers
        self._names = None if names is None else frozenset(names)
        self._hoped = frozenset(hoped)
        self._by_plane: dict[Plane | None, _Contents] = {}
        self._patients: defaultdict[ArchiveFile, set[str]] = defaultdict(set)

    def stack(self, study: StudyResult, result: StackResult) -> Stack:
        """Return the readable stack, with its source files, of a stack of results.

        A file may have been moved, copied or written anew since. What it states must be the same:
        where its slices lie, and in a DICOM file whose they are, if a key tells.

        Parameters
        ----------
        study : StudyResult
        result : StackResult
            A stack of the study; heatmaps are not needed.

        Raises
        ------
        SourceError
            If one of the files is not in the archives, or has changed since.
        """
        info = result.info
        located = self._located(study, result)
        _check_geometry(result, located)
        self._check_patient(study, result, located)
        return Stack(
            key=result.key,
            kind=Kind(info["kind"]),
            frames=tuple(
                Frame(
                    file=one.file,
                    index=int(result.frame[index]),
                    sop_instance_uid=result.sop_instance_uid[index],
                    position_mm=float(result.position_mm[index]),
                )
                for index, one in enumerate(located)
            ),
            rows=int(info["rows"]),
            columns=int(info["columns"]),
            orientation=tuple(info["orientation"]) or None,
            pixel_spacing=tuple(info["pixel_spacing"]) or None,
            plane=Plane(info["plane"]) if info["plane"] else None,
            notes=tuple(info["notes"]),
        )

    def _located(self, study: StudyResult, result: StackResult) -> list[_LocatedFrame]:
        if result.info["kind"] == Kind.DICOM and all(result.sop_instance_uid):
            return [self._instance(result, index) for index in range(len(result.state))]
        stack = self._stack(study, result)
        return [_LocatedFrame(stack, number) for number in range(len(stack.frames))]

    def _instance(self, result: StackResult, index: int) -> _LocatedFrame:
        # DICOM instances are the same in every plane: any contents read already will do.
        contents = next(iter(self._by_plane.values()), None) or self._contents(None)
        uids = str(result.info["SeriesInstanceUID"]), result.sop_instance_uid[index]
        if uids not in contents.instances:
            raise SourceError(f"the file of slice {index + 1} is not in the archive named")
        frames, number = contents.instances[uids], int(result.frame[index])
        if number not in frames:
            raise SourceError(f"{_CHANGED}: fewer frames")
        return frames[number]

    def _stack(self, study: StudyResult, result: StackResult) -> Stack:
        candidates = self._contents(_plane(result)).stacks.get(result.source_key, [])
        if not candidates:
            raise SourceError("its file is not in the archive named")
        root = study.info.get("root")
        stacks = [c.stack for c in candidates if (c.root == root if root else c.study == study.key)]
        if not stacks:
            raise SourceError(
                "its file is not in the archive named: the file of the same path lies below "
                "another folder than the one that was scanned"
            )
        frames = [(frame.index, frame.sop_instance_uid) for frame in stacks[0].frames]
        if frames != list(zip(result.frame.tolist(), result.sop_instance_uid, strict=True)):
            raise SourceError(f"{_CHANGED}: other slices")
        return stacks[0]

    def _check_patient(
        self, study: StudyResult, result: StackResult, located: Sequence[_LocatedFrame]
    ) -> None:
        """Refuse DICOM files of another patient, unless a key that would tell is missing.

        Other files are known by their path, and so are their patients.
        """
        patient = study.info.get("patient")
        if result.info["kind"] != Kind.DICOM or patient is None or None in self._keys:
            return
        if any(patient not in self._patients[one.file] for one in located):
            raise SourceError(f"{_CHANGED}: another patient")

    # --- the archives ---------------------------------------------------------------------------

    @cached_property
    def _walked(self) -> list[ArchiveFile | Outcome]:
        return list(archive.walk_all(self._roots))

    def _contents(self, plane: Plane | None) -> _Contents:
        """Return the contents of the archives, with volumes cut in a plane."""
        if plane not in self._by_plane:
            self._by_plane[plane] = _Contents()
            for key in self._keys:
                self._fill(self._by_plane[plane], plane, key)
        return self._by_plane[plane]

    def _fill(self, contents: _Contents, plane: Plane | None, key: Pseudonyms | None) -> None:
        catalogue = archive.index(
            self._roots,
            plane=plane,
            workers=self._workers,
            pseudonyms=key,
            walked=self._wanted_files(key),
        )
        for study in catalogue.studies:
            patient = key.patient_of(study.patient_id) if key else ""
            for series, stack in ((s, stack) for s in study.series for stack in s.stacks):
                root = key.root(stack.frames[0].file) if key else ""
                contents.stacks[stack.key].append(_LocatedStack(study.key, root, stack))
                for number, frame in enumerate(stack.frames):
                    frames = contents.instances[series.uid, frame.sop_instance_uid]
                    frames.setdefault(frame.index, _LocatedFrame(stack, number))
                    self._patients[frame.file].add(patient)

    def _wanted_files(self, key: Pseudonyms | None) -> list[ArchiveFile | Outcome]:
        """Return the files that will be asked for if all of them exist, else all files."""
        if key is None or self._names is None:
            return self._walked
        plain = [(f if isinstance(f, ArchiveFile) else f.file, f) for f in self._walked]
        asked = self._names | self._hoped
        matches = [({key.path(file.path), file.path} & asked, f) for file, f in plain]
        wanted = [f for names, f in matches if names]
        all_exist = self._names <= {name for names, _ in matches for name in names}
        return wanted if all_exist else self._walked


def check_picture(result: StackResult, index: int, image: NDArray[np.float32]) -> None:
    """Refuse a slice that differs from its thumbnail, if the results hold one.

    Parameters
    ----------
    result : StackResult
        With its arrays.
    index : int
        Of the slice.
    image : float32 (1 or 3, S, S)
        The slice as drawn now, at the size and through the window of the scan.

    Raises
    ------
    SourceError
    """
    pictured = result.thumbnail_index.tolist()
    if index not in pictured:
        return
    kept = result.thumbnail[pictured.index(index)].astype(np.float32)
    if np.abs(image.transpose(1, 2, 0) * 255 - kept).mean() > GREYS:
        raise SourceError(f"{_CHANGED}: slice {index + 1} shows something else")


def _plane(result: StackResult) -> Plane | None:
    """Return the plane that a volume was cut in; None for files that hold slices already."""
    is_volume = Kind(result.info["kind"]).is_volume
    return Plane(result.info["plane"]) if is_volume and result.info["plane"] else None


def _check_geometry(result: StackResult, located: Sequence[_LocatedFrame]) -> None:
    """Refuse frames of another size, or that lie elsewhere."""
    info, size = result.info, (result.info["rows"], result.info["columns"])
    if any((one.stack.rows, one.stack.columns) != size for one in located):
        raise SourceError(f"{_CHANGED}: frames of another size")
    for stack in {id(one.stack): one.stack for one in located}.values():
        for name in GEOMETRY:
            if name in info and not _same(info[name], getattr(stack, name)):
                raise SourceError(f"{_CHANGED}: another {name.replace('_', ' ')}")
    if moved := _moved(result, located):
        raise SourceError(f"{_CHANGED}: slice {min(moved) + 1} lies elsewhere")


def _moved(result: StackResult, located: Sequence[_LocatedFrame]) -> list[int]:
    """Slices that lie elsewhere: along the normal, or, where that is known, in any direction."""
    frames = [one.stack.frames[one.number] for one in located]
    along = [np.nan if frame.position_mm is None else frame.position_mm for frame in frames]
    close = np.isclose(result.position_mm, along, RELATIVE, ABSOLUTE, equal_nan=True)
    ends = (0, result.info["origin"]), (len(located) - 1, result.info.get("last"))
    return np.flatnonzero(~close).tolist() + [
        index
        for index, end in ends
        if end and located[index].end and not _same(end, located[index].end)
    ]


def _same(before: Sequence[float], now: Sequence[float] | None) -> bool:
    """Whether the numbers are the same but for rounding."""
    now = now or ()
    return len(before) == len(now) and np.allclose(before, now, RELATIVE, ABSOLUTE)
