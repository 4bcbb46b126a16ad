"""A catalogue as bytes: what an archive held, for the next time that a walk finds the same files.

Files are named by their numbers in the walk, so that neither paths nor times are kept twice.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from medscan import __version__
from medscan.archive.header import FORMAT as HEADER_FORMAT
from medscan.archive.header import tools
from medscan.archive.types import (
    ArchiveFile,
    Catalogue,
    Frame,
    Kind,
    Outcome,
    Plane,
    Reason,
    Series,
    Stack,
    Study,
)

FORMAT = 1
"""Of these bytes, and of what grouping makes of headers: raised when either changes."""
_BROKEN = (ArithmeticError, LookupError, TypeError, ValueError, zlib.error)

Found = ArchiveFile | Outcome
"""What a walk finds."""

_STACK = [f.name for f in fields(Stack) if f.name != "frames"]
_stack = attrgetter(*_STACK)


def digest_of(found: Iterable[Found], plane: Plane | None, rule: str = "") -> str:
    """Name of a catalogue: of the files that it is of, and of how it is made.

    Parameters
    ----------
    found : iterable of ArchiveFile or Outcome
        As walked.
    plane : Plane or None
        That volumes are cut in.
    rule : str
        Whatever else headers depend on.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    how = (__version__, tools(), HEADER_FORMAT, FORMAT, plane, rule)
    digest = hashlib.sha256(repr(how).encode())
    digest.update("".join(map(_line, found)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _line(item: Found) -> str:
    if isinstance(item, Outcome):
        return f"{item.file.path}\0{item.file.root}\0{item.reason}\0{item.detail}\0\0"
    return f"{item.path}\0{item.root}\0{item.size}\0{item.mtime_ns}\0"


def to_bytes(catalogue: Catalogue, found: Sequence[Found]) -> bytes | None:
    """A catalogue of the files of a walk; None where it holds files from elsewhere."""
    numbers = {file: n for n, file in enumerate(map(_file, found))}
    paths = {file.path: n for file, n in numbers.items()}
    try:
        told = [
            [_told_study(study, numbers) for study in catalogue.studies],
            [_told_outcome(outcome, numbers, paths) for outcome in catalogue.set_aside],
            [(numbers[one], numbers[other]) for one, other in catalogue.companions.items()],
        ]
    except KeyError:
        return None
    return zlib.compress(json.dumps(told).encode("ascii"), 1)


def from_bytes(data: bytes, found: Sequence[Found]) -> Catalogue | None:
    """The catalogue that `to_bytes` was given; None where the bytes are damaged."""
    files = [_file(item) for item in found]
    try:
        studies, aside, companions = json.loads(zlib.decompress(data))
        return Catalogue(
            tuple(_study(values, files) for values in studies),
            tuple(_outcome(values, files) for values in aside),
            {files[one]: files[other] for one, other in companions},
        )
    except _BROKEN:
        return None


def _file(item: Found) -> ArchiveFile:
    return item.file if isinstance(item, Outcome) else item


def _told_outcome(
    outcome: Outcome, numbers: dict[ArchiveFile, int], paths: dict[str, int]
) -> list[Any]:
    other = paths[outcome.other] if outcome.other else None
    told = [outcome.reason, outcome.detail, outcome.study, outcome.series]
    return [numbers[outcome.file], other, *told]


def _outcome(values: list[Any], files: list[ArchiveFile]) -> Outcome:
    number, other, reason, detail, study, series = values
    named = "" if other is None else files[other].path
    return Outcome(files[number], Reason(reason), detail, study, series, named)


def _told_study(study: Study, numbers: dict[ArchiveFile, int]) -> list[Any]:
    series = [
        [
            [_told_stack(stack, numbers) for stack in s.stacks],
            (s.uid, s.modality, s.body_part, s.description, s.number),
        ]
        for s in study.series
    ]
    return [study.key, study.uid, study.date, study.patient_id, series]


def _study(values: list[Any], files: list[ArchiveFile]) -> Study:
    key, uid, date, patient_id, series = values
    made = tuple(_series(stacks, facts, files) for stacks, facts in series)
    return Study(key, uid, date, patient_id, made)


def _series(stacks: list[Any], facts: list[Any], files: list[ArchiveFile]) -> Series:
    uid, modality, body_part, description, number = facts
    made = tuple(_made_stack(values, files) for values in stacks)
    return Series(uid, modality, body_part, description, made, number)


def _told_stack(stack: Stack, numbers: dict[ArchiveFile, int]) -> list[Any]:
    columns = (
        [numbers[frame.file] for frame in stack.frames],
        [frame.index for frame in stack.frames],
        [frame.sop_instance_uid for frame in stack.frames],
        [frame.position_mm for frame in stack.frames],
    )
    return [_stack(stack), columns]


def _made_stack(values: list[Any], files: list[ArchiveFile]) -> Stack:
    told, (numbers, *columns) = values
    facts: dict[str, Any] = {
        name: tuple(value) if type(value) is list else value
        for name, value in zip(_STACK, told, strict=True)
    }
    facts["kind"] = Kind(facts["kind"])
    facts["plane"] = facts["plane"] and Plane(facts["plane"])
    frames = map(Frame, (files[n] for n in numbers), *columns)
    return Stack(frames=tuple(frames), **facts)
