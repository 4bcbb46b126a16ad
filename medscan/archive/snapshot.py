"""A catalogue as bytes: what an archive held, for the next time that a walk finds the same files.

Files are named by their numbers in the walk, so that neither paths nor times are kept twice.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
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
    Reason,
    Series,
    Stack,
    Study,
)
from medscan.choices import Plane

FORMAT = 2
"""Of these bytes, and of what grouping makes of headers: raised when either changes."""
LARGEST = 1 << 29
"""Bytes of one that is kept: a row of SQLite can have a thousand million."""
LINES = 4096
"""Of a walk that are hashed at a time."""
_BROKEN = (ArithmeticError, LookupError, TypeError, ValueError, EOFError, OSError, zlib.error)

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
    lines = map(_line, found)
    while some := "".join(islice(lines, LINES)):
        digest.update(some.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _line(item: Found) -> str:
    if isinstance(item, Outcome):
        return f"{item.file.path}\0{item.file.root}\0{item.reason}\0{item.detail}\0\0"
    return f"{item.path}\0{item.root}\0{item.size}\0{item.mtime_ns}\0"


def to_bytes(catalogue: Catalogue, found: Sequence[Found]) -> bytes | None:
    """A catalogue of the files of a walk; None where it holds files from elsewhere, or too many."""
    told = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=told, mode="wb", compresslevel=1, mtime=0) as stream:
            for line in _lines(catalogue, found):
                stream.write(json.dumps(line).encode("ascii") + b"\n")
    except KeyError:
        return None
    return told.getvalue() if told.tell() <= LARGEST else None


def from_bytes(data: bytes, found: Sequence[Found]) -> Catalogue | None:
    """The catalogue that `to_bytes` was given; None where the bytes are damaged."""
    files = [_file(item) for item in found]
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return _made(map(json.loads, stream), files)
    except _BROKEN:
        return None


def _made(lines: Iterator[Any], files: list[ArchiveFile]) -> Catalogue:
    counts: Any = next(lines, None)
    studies, aside, companions = counts
    catalogue = Catalogue(
        tuple(_study(values, files) for values in islice(lines, studies)),
        tuple(_outcome(values, files) for values in islice(lines, aside)),
        {files[one]: files[other] for one, other in islice(lines, companions)},
    )
    if next(lines, None) is not None or _counts(catalogue) != counts:
        raise ValueError("lines are missing, or too many")
    return catalogue


def _counts(catalogue: Catalogue) -> list[int]:
    return [len(catalogue.studies), len(catalogue.set_aside), len(catalogue.companions)]


def _lines(catalogue: Catalogue, found: Sequence[Found]) -> Iterator[list[Any]]:
    """How many of each there are, then a line for each."""
    own = set(_files(catalogue))
    numbers = {file: n for n, file in enumerate(map(_file, found)) if file in own}
    others = {outcome.other for outcome in catalogue.set_aside}
    paths = {file.path: n for file, n in numbers.items() if file.path in others}
    yield _counts(catalogue)
    yield from (_told_study(study, numbers) for study in catalogue.studies)
    yield from (_told_outcome(outcome, numbers, paths) for outcome in catalogue.set_aside)
    yield from ([numbers[one], numbers[other]] for one, other in catalogue.companions.items())


def _files(catalogue: Catalogue) -> Iterator[ArchiveFile]:
    for study in catalogue.studies:
        yield from study.files()
    yield from (outcome.file for outcome in catalogue.set_aside)
    yield from catalogue.companions


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
