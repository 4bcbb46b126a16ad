"""A radiologist's verdicts, read from a CSV file and checked against the results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from medscan.errors import UsageError
from medscan.report.worklist import Row, rank
from medscan.results import Results
from medscan.tables import read_table
from medscan.text import printable

COLUMNS = ("study", "verdict", "stack", "slice")
"""Columns that are read; a file must have the first two."""
_ADVICE = (
    "it must name the columns study and verdict, and may name stack and slice, each once, "
    "separated by commas, semicolons or tabs"
)
_SLICE = re.compile(r"([0-9]{1,7})(\.0+)?", re.ASCII)
"""A slice number; some programs write whole numbers with decimals."""


class Verdict(StrEnum):
    """A radiologist's verdict."""

    ABNORMAL = "abnormal"
    NORMAL = "normal"
    UNSURE = "unsure"


class JudgedPart(NamedTuple):
    """The part of a study that a verdict is on.

    Parameters
    ----------
    stack : str
        Key of the stack; empty for the whole study.
    number : int
        Number of the slice, from 1; 0 for the whole stack or study.
    """

    stack: str
    number: int


WHOLE_STUDY = JudgedPart("", 0)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Verdicts that do not contradict each other.

    Parameters
    ----------
    studies : mapping
        For the key of each judged study, its verdicts by part.
    rows : int
        Number of verdicts read.
    digest : str
        SHA-256 of the file.
    """

    studies: Mapping[str, Mapping[JudgedPart, Verdict]]
    rows: int
    digest: str

    def verdict(self, study: str) -> Verdict | None:
        """The verdict on a study as a whole: abnormal if any part is; None without one."""
        verdicts = self.studies.get(study, {})
        abnormal = Verdict.ABNORMAL in verdicts.values()
        return Verdict.ABNORMAL if abnormal else verdicts.get(WHOLE_STUDY)


class _WrongRowError(ValueError):
    """A row that contradicts the results or an earlier row."""


class _Judged(NamedTuple):
    """A verdict and the row that gave it, as its number in the file."""

    verdict: Verdict
    row: int


_Seen = dict[tuple[str, JudgedPart], _Judged]
"""First verdict on each part of each study."""


def read_decisions(path: Path, results: Sequence[Results]) -> Decisions:
    """Read verdicts on studies of results.

    A row names a study by its key or StudyInstanceUID, and a verdict; optionally a stack by its
    key, and a slice by its number, from 1 as in the tables and the viewer. Rows without a verdict
    and other columns are ignored. Cells are separated by commas, semicolons or tabs.

    Parameters
    ----------
    path : Path
    results : sequence of Results
        Read as one.

    Raises
    ------
    UsageError
        If the file cannot be read, or a row names something that the results lack, holds an
        unknown verdict, or contradicts another row; the message names the row.
    """
    parser = _RowParser(rank(results))
    seen: _Seen = {}
    columns = {name: name for name in COLUMNS}
    for number, _, read in read_table(path, columns, _suit, _ADVICE):
        cells = dict.fromkeys(COLUMNS, "") | read
        try:
            if cells["verdict"]:
                _add(seen, *parser.parse(cells), number)
        except _WrongRowError as why:
            raise UsageError(f"{path} row {number}: {why}") from why
    _check_parts(path, seen)
    studies: dict[str, dict[JudgedPart, Verdict]] = {}
    for (study, part), judged in sorted(seen.items()):
        studies.setdefault(study, {})[part] = judged.verdict
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Decisions(studies, len(seen), digest)


def _suit(columns: Collection[str]) -> bool:
    return {"study", "verdict"} <= set(columns)


def _add(seen: _Seen, study: str, part: JudgedPart, verdict: Verdict, row: int) -> None:
    first = seen.setdefault((study, part), _Judged(verdict, row))
    if first.verdict is not verdict:
        raise _WrongRowError(f"it says {verdict}, but row {first.row} says {first.verdict}")


def _check_parts(path: Path, seen: _Seen) -> None:
    """Refuse an abnormal part of a stack or study judged otherwise as a whole."""
    for (study, part), judged in seen.items():
        wholes = [WHOLE_STUDY, JudgedPart(part.stack, 0)] if part.number else [WHOLE_STUDY]
        for whole in wholes if judged.verdict is Verdict.ABNORMAL else []:
            contrary = seen.get((study, whole), judged)
            if contrary.verdict is not judged.verdict:
                earlier, later = sorted((contrary.row, judged.row))
                raise UsageError(
                    f"{path} row {later}: it contradicts row {earlier}: "
                    f"a part of study {study} is abnormal, but the whole {contrary.verdict}"
                )


class _RowParser:
    """Reads rows as verdicts on studies, stacks and slices of a worklist."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.sizes = {
            row.study.key: {stack.key: len(stack.state) for stack in row.study.stacks}
            for row in rows
        }
        uids = ((str(row.study.info.get("StudyInstanceUID") or ""), row.study.key) for row in rows)
        self.keys = {uid: key for uid, key in uids if uid} | {key: key for key in self.sizes}

    def parse(self, cells: Mapping[str, str]) -> tuple[str, JudgedPart, Verdict]:
        """Key of the study, part and verdict of a row."""
        verdict = cells["verdict"].casefold()
        if verdict not in tuple(Verdict):
            raise _WrongRowError(f"unknown verdict {_quoted(verdict)}: write {', '.join(Verdict)}")
        study = self.keys.get(cells["study"])
        if study is None:
            raise _WrongRowError(f"the results have no study {_quoted(cells['study'])}")
        return study, self._part(study, cells["stack"], cells["slice"]), Verdict(verdict)

    def _part(self, study: str, stack: str, number: str) -> JudgedPart:
        sizes = self.sizes[study]
        if stack and stack not in sizes:
            raise _WrongRowError(f"study {study} has no stack {_quoted(stack)}")
        if not number:
            # The only stack is the study: a verdict on either is the same verdict.
            return JudgedPart(stack if len(sizes) > 1 else "", 0)
        if not stack and len(sizes) != 1:
            raise _WrongRowError(f"study {study} has {len(sizes)} stacks: name one for the slice")
        stack = stack or next(iter(sizes))
        matched = _SLICE.fullmatch(number)
        slice_number = int(matched[1]) if matched else 0
        if not 1 <= slice_number <= sizes[stack]:
            raise _WrongRowError(
                f"stack {stack} has no slice {_quoted(number)}: number its slices from 1 to "
                f"{sizes[stack]}"
            )
        return JudgedPart(stack, slice_number)


def _quoted(text: str) -> str:
    return f"'{printable(text, 80)}'"
