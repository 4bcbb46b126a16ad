"""The files that results were made from, found again in their archive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medscan import archive
from medscan.archive import ArchiveFile, Frame, Kind, Plane, Pseudonyms, Stack
from medscan.errors import ExportError
from medscan.results import StackResult


class Sources:
    """Files of an archive, wherever they lie in it by now.

    DICOM instances are known by their SOP Instance UID, other files by the keys of their study and
    stack, which stand for their path: those below a further root are other studies.

    Parameters
    ----------
    roots : iterable of Path
        Folders or files; their headers are read.
    pseudonyms : Pseudonyms or None
        That the results were written with: they name files without a UID.
    """

    def __init__(self, roots: Iterable[Path], pseudonyms: Pseudonyms | None = None) -> None:
        self._instances: dict[tuple[str, str], ArchiveFile] = {}
        self._files: dict[tuple[str, str], ArchiveFile] = {}
        for study in archive.index(roots, pseudonyms=pseudonyms).studies:
            for series in study.series:
                for stack in series.stacks:
                    self._files[study.key, stack.key] = stack.frames[0].file
                    for frame in stack.frames:
                        key = series.uid, frame.sop_instance_uid
                        self._instances.setdefault(key, frame.file)

    def stack(self, study: str, result: StackResult, places: Sequence[int]) -> Stack:
        """Some slices of a stack as what can be read.

        Parameters
        ----------
        study : str
            Key of its study.
        result : StackResult
        places : sequence of int
            Of the slices in the result's arrays, ascending.

        Raises
        ------
        ExportError
            One of their files is not in the archive.
        """
        info = result.info
        return Stack(
            key=result.key,
            kind=Kind(info["kind"]),
            frames=tuple(
                Frame(
                    file=self._file(study, result, at),
                    index=int(result.frame[at]),
                    sop_instance_uid=result.sop_instance_uid[at],
                    position_mm=float(result.position_mm[at]),
                )
                for at in places
            ),
            rows=int(info["rows"]),
            columns=int(info["columns"]),
            orientation=tuple(info["orientation"]) or None,
            pixel_spacing=tuple(info["pixel_spacing"]) or None,
            plane=Plane(info["plane"]) if info["plane"] else None,
            notes=tuple(info["notes"]),
        )

    def _file(self, study: str, result: StackResult, at: int) -> ArchiveFile:
        if result.info["kind"] == Kind.DICOM:
            uid = result.sop_instance_uid[at]
            if not uid:
                raise ExportError(f"slice {at + 1} has no SOP Instance UID to find its file by")
            found = self._instances.get((result.info["SeriesInstanceUID"], uid))
        else:
            found = self._files.get((study, result.key))
        if found is None:
            raise ExportError(f"the file of slice {at + 1} is not in the archive named")
        return found
