"""Find the files that results were made from in their archives again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medscan import archive
from medscan.archive import ArchiveFile, Frame, Kind, Outcome, Pseudonyms, Stack
from medscan.choices import Plane
from medscan.errors import SourceError

if TYPE_CHECKING:  # its libraries take a fifth of the time in which a worker process begins
    from medscan.results import StackResult, StudyResult

SizedFile = tuple[ArchiveFile, tuple[int, int]]
"""A file, and the rows and columns of its frames."""


class _LocatedStack(NamedTuple):
    study: str
    root: str
    stack: Stack


class _Contents(NamedTuple):
    """Contents of the archives: DICOM instances by UIDs of series and instance, stacks by key."""

    instances: dict[tuple[str, str], SizedFile]
    stacks: defaultdict[str, list[_LocatedStack]]


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

    def stack(
        self, study: StudyResult, result: StackResult, indices: Sequence[int] | None = None
    ) -> Stack:
        """Return the readable stack, with its source files, of a stack of results.

        Parameters
        ----------
        study : StudyResult
        result : StackResult
            A stack of the study; heatmaps are not needed.
        indices : sequence of int, optional
            Slices to include, as ascending indices into the result's arrays; None: all.

        Raises
        ------
        SourceError
            If one of the files is not in the archives, or has changed since.
        """
        info = result.info
        indices = range(len(result.state)) if indices is None else indices
        files = self._files(study, result, indices)
        return Stack(
            key=result.key,
            kind=Kind(info["kind"]),
            frames=tuple(
                Frame(
                    file=file,
                    index=int(result.frame[index]),
                    sop_instance_uid=result.sop_instance_uid[index],
                    position_mm=float(result.position_mm[index]),
                )
                for index, file in zip(indices, files, strict=True)
            ),
            rows=int(info["rows"]),
            columns=int(info["columns"]),
            orientation=tuple(info["orientation"]) or None,
            pixel_spacing=tuple(info["pixel_spacing"]) or None,
            plane=Plane(info["plane"]) if info["plane"] else None,
            notes=tuple(info["notes"]),
        )

    def _files(
        self, study: StudyResult, result: StackResult, indices: Sequence[int]
    ) -> list[ArchiveFile]:
        has_uids = result.info["kind"] == Kind.DICOM and all(result.sop_instance_uid)
        if has_uids:
            sources = [self._instance(result, index) for index in indices]
        else:
            stack = self._stack(study, result)
            size = (stack.rows, stack.columns)
            sources = [(stack.frames[index].file, size) for index in indices]
        scanned_size = int(result.info["rows"]), int(result.info["columns"])
        if any(size != scanned_size for _, size in sources):
            raise SourceError("its source has changed since it was scanned: frames of another size")
        return [file for file, _ in sources]

    def _instance(self, result: StackResult, index: int) -> SizedFile:
        # DICOM instances are the same in every plane: any contents read already will do.
        contents = next(iter(self._by_plane.values()), None) or self._contents(None)
        uids = str(result.info["SeriesInstanceUID"]), result.sop_instance_uid[index]
        if uids not in contents.instances:
            raise SourceError(f"the file of slice {index + 1} is not in the archive named")
        return contents.instances[uids]

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
            raise SourceError("its source has changed since it was scanned: other slices")
        return stacks[0]

    # --- the archives ---------------------------------------------------------------------------

    @cached_property
    def _walked(self) -> list[ArchiveFile | Outcome]:
        return list(archive.walk_all(self._roots))

    def _contents(self, plane: Plane | None) -> _Contents:
        """Return the contents of the archives, with volumes cut in a plane."""
        if plane not in self._by_plane:
            self._by_plane[plane] = _Contents({}, defaultdict(list))
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
            for series, stack in ((s, stack) for s in study.series for stack in s.stacks):
                root = key.root(stack.frames[0].file) if key else ""
                contents.stacks[stack.key].append(_LocatedStack(study.key, root, stack))
                for frame in stack.frames:
                    uids, size = (series.uid, frame.sop_instance_uid), (stack.rows, stack.columns)
                    contents.instances.setdefault(uids, (frame.file, size))

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


def _plane(result: StackResult) -> Plane | None:
    """Return the plane that a volume was cut in; None for files that hold slices already."""
    is_volume = Kind(result.info["kind"]).is_volume
    return Plane(result.info["plane"]) if is_volume and result.info["plane"] else None
