"""The files that results were made from, found again in their archives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from medscan import archive
from medscan.archive import ArchiveFile, Frame, Kind, Outcome, Pseudonyms, Stack
from medscan.choices import Plane
from medscan.errors import SourceError
from medscan.results import StackResult, StudyResult

Place = tuple[ArchiveFile, tuple[int, int]]
"""A file, and the rows and columns of its frames."""


class _Found(NamedTuple):
    study: str
    root: str
    stack: Stack


class _Shelf(NamedTuple):
    """What archives hold: DICOM instances by UIDs of series and instance, stacks by key."""

    instances: dict[tuple[str, str], Place]
    stacks: defaultdict[str, list[_Found]]


class Sources:
    """Files of archives, wherever they lie in them by now.

    A DICOM instance is known by its UIDs. Other files are known by their path, which the key of
    their stack stands for, and by the root that it lies below: the same path below another root is
    another file. Results of older versions do not say the root; there the key of the study tells.

    Parameters
    ----------
    roots : iterable of Path
        Folders or files.
    keys : iterable of Pseudonyms or None
        That the results were written with.
    names : collection of str, optional
        Paths, as results have them, of all files that will be asked for. While they are there, the
        headers of no others are read.
    workers : int
        Processes that read headers.
    """

    def __init__(
        self,
        roots: Iterable[Path],
        keys: Iterable[Pseudonyms | None] = (None,),
        names: Collection[str] | None = None,
        workers: int = 1,
    ) -> None:
        self._roots, self._keys, self._workers = tuple(roots), tuple(dict.fromkeys(keys)), workers
        self._names = None if names is None else frozenset(names)
        self._shelves: dict[Plane | None, _Shelf] = {}

    def stack(
        self, study: StudyResult, result: StackResult, places: Sequence[int] | None = None
    ) -> Stack:
        """A stack of results as what can be read.

        Parameters
        ----------
        study : StudyResult
        result : StackResult
            One of its stacks; heatmaps are not needed.
        places : sequence of int, optional
            Of some slices in the result's arrays, ascending; None: all.

        Raises
        ------
        SourceError
            One of their files is not in the archives, or has changed since.
        """
        info, chosen = result.info, range(len(result.state)) if places is None else places
        files = self._files(study, result, chosen)
        return Stack(
            key=result.key,
            kind=Kind(info["kind"]),
            frames=tuple(
                Frame(
                    file=file,
                    index=int(result.frame[at]),
                    sop_instance_uid=result.sop_instance_uid[at],
                    position_mm=float(result.position_mm[at]),
                )
                for at, file in zip(chosen, files, strict=True)
            ),
            rows=int(info["rows"]),
            columns=int(info["columns"]),
            orientation=tuple(info["orientation"]) or None,
            pixel_spacing=tuple(info["pixel_spacing"]) or None,
            plane=Plane(info["plane"]) if info["plane"] else None,
            notes=tuple(info["notes"]),
        )

    def _files(
        self, study: StudyResult, result: StackResult, places: Sequence[int]
    ) -> list[ArchiveFile]:
        named = result.info["kind"] == Kind.DICOM and all(result.sop_instance_uid)
        if named:
            found = [self._instance(result, at) for at in places]
        else:
            stack = self._stack(study, result)
            found = [(stack.frames[at].file, (stack.rows, stack.columns)) for at in places]
        size = int(result.info["rows"]), int(result.info["columns"])
        if any(there != size for _, there in found):
            raise SourceError("its source has changed since it was scanned: frames of another size")
        return [file for file, _ in found]

    def _instance(self, result: StackResult, at: int) -> Place:
        shelf = next(iter(self._shelves.values()), None) or self._shelf(None)
        uids = str(result.info["SeriesInstanceUID"]), result.sop_instance_uid[at]
        if uids not in shelf.instances:
            raise SourceError(f"the file of slice {at + 1} is not in the archive named")
        return shelf.instances[uids]

    def _stack(self, study: StudyResult, result: StackResult) -> Stack:
        there = self._shelf(_plane(result)).stacks.get(result.key, [])
        if not there:
            raise SourceError("its file is not in the archive named")
        root = study.info.get("root")
        mine = [f.stack for f in there if (f.root == root if root else f.study == study.key)]
        if not mine:
            raise SourceError(
                "its file is not in the archive named: what has its path there lies below another "
                "folder than the one that was scanned"
            )
        frames = [(frame.index, frame.sop_instance_uid) for frame in mine[0].frames]
        if frames != list(zip(result.frame.tolist(), result.sop_instance_uid, strict=True)):
            raise SourceError("its source has changed since it was scanned: other slices")
        return mine[0]

    # --- the archives ---------------------------------------------------------------------------

    @cached_property
    def _walked(self) -> list[ArchiveFile | Outcome]:
        return list(archive.walk_all(self._roots))

    def _shelf(self, plane: Plane | None) -> _Shelf:
        """What the archives hold, with volumes cut in a plane."""
        if plane not in self._shelves:
            self._shelves[plane] = _Shelf({}, defaultdict(list))
            for key in self._keys:
                self._fill(self._shelves[plane], plane, key)
        return self._shelves[plane]

    def _fill(self, shelf: _Shelf, plane: Plane | None, key: Pseudonyms | None) -> None:
        catalogue = archive.index(
            self._roots,
            plane=plane,
            workers=self._workers,
            pseudonyms=key,
            walked=self._asked_for(key),
        )
        for study in catalogue.studies:
            for series, stack in ((s, stack) for s in study.series for stack in s.stacks):
                root = key.root(stack.frames[0].file) if key else ""
                shelf.stacks[stack.key].append(_Found(study.key, root, stack))
                for frame in stack.frames:
                    uids, size = (series.uid, frame.sop_instance_uid), (stack.rows, stack.columns)
                    shelf.instances.setdefault(uids, (frame.file, size))

    def _asked_for(self, key: Pseudonyms | None) -> list[ArchiveFile | Outcome]:
        """Files that will be asked for, while all of them are there; else all files."""
        if key is None or self._names is None:
            return self._walked
        plain = [(f if isinstance(f, ArchiveFile) else f.file, f) for f in self._walked]
        called = [({key.path(file.path), file.path} & self._names, f) for file, f in plain]
        found = [f for names, f in called if names]
        whole = self._names <= {name for names, _ in called for name in names}
        return found if whole else self._walked


def _plane(result: StackResult) -> Plane | None:
    """The plane that a volume was cut in; None for files that hold slices already."""
    cut = result.info["kind"] in (Kind.NIFTI, Kind.ITK)
    return Plane(result.info["plane"]) if cut and result.info["plane"] else None
