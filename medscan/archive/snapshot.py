"""A catalogue as bytes: stored, and restored when a later walk yields the same entries.

Files are stored as their numbers in the walk, so that no path or time is kept twice.
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
    Entry,
    Frame,
    Kind,
    Outcome,
    Reason,
    Series,
    Stack,
    Study,
)
from medscan.choices import Plane

FORMAT = 10
"""Version of these bytes, and of how headers are grouped: raise it when either changes."""
LARGEST = 1 << 29
"""Most bytes that are stored: a row of SQLite holds at most a thousand million."""
LINES = 4096
"""Lines of a walk that are hashed at a time."""
_BROKEN = (ArithmeticError, LookupError, TypeError, ValueError, EOFError, OSError, zlib.error)

_STACK_FIELDS = [f.name for f in fields(Stack) if f.name != "frames"]
_stack_values = attrgetter(*_STACK_FIELDS)


def digest_of(entries: Iterable[Entry], plane: Plane | None, rule: str = "") -> str:
    """Name of a catalogue, from the entries of its walk and everything else it depends on.

    Parameters
    ----------
    entries : iterable of ArchiveFile or Outcome
        As walked.
    plane : Plane or None
        Plane that volumes are cut in.
    rule : str
        Anything else that headers depend on.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    how = (__version__, tools(), HEADER_FORMAT, FORMAT, plane, rule)
    digest = hashlib.sha256(repr(how).encode())
    lines = map(_line, entries)
    while batch := "".join(islice(lines, LINES)):
        digest.update(batch.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _line(entry: Entry) -> str:
    if isinstance(entry, Outcome):
        return f"{entry.file.path}\0{entry.file.root}\0{entry.reason}\0{entry.detail}\0\0"
    return f"{entry.path}\0{entry.root}\0{entry.size}\0{entry.mtime_ns}\0"


def to_bytes(catalogue: Catalogue, entries: Sequence[Entry]) -> bytes | None:
    """Convert a catalogue of a walk; None if it holds files from elsewhere, or too many."""
    buffer = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as stream:
            for row in _rows(catalogue, entries):
                stream.write(json.dumps(row).encode("ascii") + b"\n")
    except KeyError:
        return None
    return buffer.getvalue() if buffer.tell() <= LARGEST else None


def from_bytes(data: bytes, entries: Sequence[Entry]) -> Catalogue | None:
    """Restore the catalogue that `to_bytes` converted; None if the bytes are damaged."""
    files = [_file(entry) for entry in entries]
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return _parse(map(json.loads, stream), files)
    except _BROKEN:
        return None


def _parse(rows: Iterator[Any], files: list[ArchiveFile]) -> Catalogue:
    counts: Any = next(rows, None)
    studies, aside, companions = counts
    catalogue = Catalogue(
        tuple(_parse_study(row, files) for row in islice(rows, studies)),
        tuple(_parse_outcome(row, files) for row in islice(rows, aside)),
        {files[voxels]: files[header] for voxels, header in islice(rows, companions)},
    )
    if next(rows, None) is not None or _counts(catalogue) != counts:
        raise ValueError("lines are missing, or too many")
    return catalogue


def _counts(catalogue: Catalogue) -> list[int]:
    return [len(catalogue.studies), len(catalogue.set_aside), len(catalogue.companions)]


def _rows(catalogue: Catalogue, entries: Sequence[Entry]) -> Iterator[list[Any]]:
    """Counts of studies, outcomes and companions, then a row for each."""
    own = set(_files(catalogue))
    numbers = {file: n for n, file in enumerate(map(_file, entries)) if file in own}
    others = {outcome.other for outcome in catalogue.set_aside}
    by_path = {file.path: n for file, n in numbers.items() if file.path in others}
    yield _counts(catalogue)
    yield from (_study_row(study, numbers) for study in catalogue.studies)
    yield from (_outcome_row(outcome, numbers, by_path) for outcome in catalogue.set_aside)
    yield from ([numbers[v], numbers[header]] for v, header in catalogue.companions.items())


def _files(catalogue: Catalogue) -> Iterator[ArchiveFile]:
    for study in catalogue.studies:
        yield from study.files()
    yield from (outcome.file for outcome in catalogue.set_aside)
    yield from catalogue.companions


def _file(entry: Entry) -> ArchiveFile:
    return entry.file if isinstance(entry, Outcome) else entry


def _outcome_row(
    outcome: Outcome, numbers: dict[ArchiveFile, int], by_path: dict[str, int]
) -> list[Any]:
    other = by_path[outcome.other] if outcome.other else None
    texts = [outcome.reason, outcome.detail, outcome.study, outcome.series]
    return [numbers[outcome.file], other, *texts]


def _parse_outcome(row: list[Any], files: list[ArchiveFile]) -> Outcome:
    number, other, reason, detail, study, series = row
    other_path = "" if other is None else files[other].path
    return Outcome(files[number], Reason(reason), detail, study, series, other_path)


def _study_row(study: Study, numbers: dict[ArchiveFile, int]) -> list[Any]:
    series = [
        [
            [_stack_row(stack, numbers) for stack in s.stacks],
            (s.uid, s.modality, s.body_part, s.description, s.number),
        ]
        for s in study.series
    ]
    texts = study.accession_number, study.person
    return [study.key, study.uid, study.date, study.patient_id, series, *texts]


def _parse_study(row: list[Any], files: list[ArchiveFile]) -> Study:
    key, uid, date, patient_id, rows, accession_number, person = row
    series = tuple(_parse_series(stacks, texts, files) for stacks, texts in rows)
    return Study(key, uid, date, patient_id, series, accession_number, person)


def _parse_series(rows: list[Any], texts: list[Any], files: list[ArchiveFile]) -> Series:
    uid, modality, body_part, description, number = texts
    stacks = tuple(_parse_stack(row, files) for row in rows)
    return Series(uid, modality, body_part, description, stacks, number)


def _stack_row(stack: Stack, numbers: dict[ArchiveFile, int]) -> list[Any]:
    columns = (
        [numbers[frame.file] for frame in stack.frames],
        [frame.index for frame in stack.frames],
        [frame.sop_instance_uid for frame in stack.frames],
        [frame.position_mm for frame in stack.frames],
    )
    return [_stack_values(stack), columns]


def _parse_stack(row: list[Any], files: list[ArchiveFile]) -> Stack:
    values, (numbers, *columns) = row
    facts: dict[str, Any] = {
        name: tuple(value) if type(value) is list else value
        for name, value in zip(_STACK_FIELDS, values, strict=True)
    }
    facts["kind"] = Kind(facts["kind"])
    facts["plane"] = facts["plane"] and Plane(facts["plane"])
    frames = map(Frame, (files[n] for n in numbers), *columns)
    return Stack(frames=tuple(frames), **facts)
