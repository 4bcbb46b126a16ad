"""Slices of results chosen as shots, and their pictures read again from the archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medscan.archive import Pseudonyms
from medscan.detector import Detector
from medscan.errors import SourceError
from medscan.reading import Sources, check_picture
from medscan.report import Row
from medscan.results import StackResult
from medscan.shots import Item, LabelledSlice, Slot, Source, load_slots, stated_by

_NAME = "results:{study}/{stack}#{slice}"
"""Name that a detector gives to a shot made from a verdict."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A slice of results chosen as a shot.

    Parameters
    ----------
    row : Row
        Its study.
    stack : StackResult
    slice_index : int
        Index in the stack's arrays.
    label : int
        0 normal, 1 abnormal.
    typical : bool
        Whether it was chosen at random, rather than by its score or by a person.
    known_as : str
        Name that a detector has given to it already; empty if none has.
    """

    row: Row
    stack: StackResult
    slice_index: int
    label: int
    typical: bool
    known_as: str = ""

    @property
    def name(self) -> str:
        """Name that the new detector gives to it."""
        return self.known_as or _NAME.format(
            study=self.row.study.key, stack=self.stack.key, slice=self.slice_index + 1
        )


def locate_picks(
    archives: Sequence[Path], keys: Sequence[Pseudonyms | None], picks: Sequence[Pick]
) -> list[Slot]:
    """Locate slices in the archives, in their order.

    Raises
    ------
    SourceError
        If a file is missing or has changed.
    """
    paths = {path for pick in picks for path in pick.stack.path}
    sources = Sources(archives, keys, paths)
    return [_slot(sources, pick) for pick in picks]


def load_picks(
    parent: Detector, picks: Sequence[Pick], slots: Sequence[Slot], size: int
) -> Iterator[LabelledSlice]:
    """Read slices from the archives as the scan read them, in their order, without background."""
    by_name = {pick.name: pick for pick in picks}
    for loaded in load_slots(slots, size=size, window=parent.window):
        _check_picture(by_name[loaded.item.name], loaded, parent.window)
        yield loaded


def _slot(sources: Sources, pick: Pick) -> Slot:
    """Locate a slice in the archives, with its label and patient."""
    study = pick.row.study
    with _naming(pick):
        stack = sources.stack(study, pick.stack)
    frame = stack.frames[pick.slice_index]
    patient = f"results:{study.info.get('patient') or study.key}"
    item = Item(
        pick.name,
        frame.file.full,
        pick.label,
        patient,
        typical=pick.typical,
        identities=stated_by(frame.file),
    )
    source = Source(stack, (frame,), str(pick.stack.info["modality"]), study.key)
    return Slot(item, source, frame)


def _check_picture(pick: Pick, loaded: LabelledSlice, window: str) -> None:
    """Refuse a picture that differs from the slice's thumbnail, if the results hold one."""
    study = pick.row.results.study(pick.row.study.key)
    stack = next(s for s in study.stacks if s.key == pick.stack.key)
    windows = {d.get("hash"): d.get("window") for d in pick.row.results.run().detectors}
    # Pictures compare only at the same size and through the same window.
    alike = windows.get(stack.info["detector_hash"]) == window
    if alike and stack.info["size"] == loaded.image.shape[1]:
        with _naming(pick):
            check_picture(stack, pick.slice_index, loaded.image)


@contextmanager
def _naming(pick: Pick) -> Iterator[None]:
    """Say of which study and stack a source is missing or has changed."""
    try:
        yield
    except SourceError as error:
        where = f"study {pick.row.study.key}, stack {pick.stack.key}"
        raise SourceError(f"{where}: {error}") from error
