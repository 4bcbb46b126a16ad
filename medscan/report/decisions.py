"""A radiologist's verdicts, read from a CSV file and held against the results they are on."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from medscan.errors import UsageError
from medscan.report.worklist import Row, rank
from medscan.results import Results
from medscan.text import printable

COLUMNS = ("study", "verdict", "stack", "slice")
"""What is read of a row; the first two are needed."""
_HEAD = 1 << 16
_SLICE = re.compile(r"([0-9]{1,7})(\.0+)?", re.ASCII)
"""Some programs write whole numbers with decimals."""


class Verdict(StrEnum):
    """What a radiologist says."""

    ABNORMAL = "abnormal"
    NORMAL = "normal"
    UNSURE = "unsure"


Target = tuple[str, int]
"""Key of a stack, empty for the whole study; and a slice from 1, 0 for the whole of that."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """Verdicts that do not contradict each other.

    Parameters
    ----------
    studies : mapping
        For the key of each judged study, its verdicts by target.
    rows : int
        Verdicts read.
    digest : str
        SHA-256 of the file.
    """

    studies: Mapping[str, Mapping[Target, Verdict]]
    rows: int
    digest: str

    def word(self, study: str) -> Verdict | None:
        """The verdict on a whole study: abnormal where a part of it is; None without one."""
        found = self.studies.get(study, {})
        return Verdict.ABNORMAL if Verdict.ABNORMAL in found.values() else found.get(("", 0))


class _WrongRowError(ValueError):
    """A row that says something that cannot be."""


def read_decisions(path: Path, results: Sequence[Results]) -> Decisions:
    """Read verdicts on studies of results.

    A row has a study, by its key or StudyInstanceUID, a verdict, and optionally a stack, by its
    key, and a slice, from 1 as the tables and the viewer count. Rows without a verdict and other
    columns are passed over. Commas, semicolons and tabs separate.

    Parameters
    ----------
    path : Path
    results : sequence of Results
        Read as one.

    Raises
    ------
    UsageError
        The file cannot be read, or a row names what the results do not have, holds no known
        verdict, or contradicts another; the message says which.
    """
    known = _Known(rank(results))
    seen: dict[tuple[str, Target], tuple[Verdict, int]] = {}
    for number, cells in _rows(path):
        try:
            found = known.verdict(cells)
            if found is not None:
                _add(seen, found, number)
        except _WrongRowError as why:
            raise UsageError(f"{path} row {number}: {why}") from why
    _check_parts(path, seen)
    studies: dict[str, dict[Target, Verdict]] = {}
    for (study, target), (word, _) in sorted(seen.items()):
        studies.setdefault(study, {})[target] = word
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Decisions(studies, len(seen), digest)


def _add(
    seen: dict[tuple[str, Target], tuple[Verdict, int]],
    found: tuple[str, Target, Verdict],
    number: int,
) -> None:
    study, target, word = found
    before, row = seen.setdefault((study, target), (word, number))
    if before is not word:
        raise _WrongRowError(f"it says {word} of what row {row} calls {before}")


def _check_parts(path: Path, seen: Mapping[tuple[str, Target], tuple[Verdict, int]]) -> None:
    """Refuse an abnormal part of what is said not to be abnormal."""
    for (study, (stack, at)), (word, number) in seen.items():
        wholes: list[Target] = [("", 0), (stack, 0)] if at else [("", 0)]
        for whole in wholes if word is Verdict.ABNORMAL else []:
            other, row = seen.get((study, whole), (word, number))
            if other is not word:
                raise UsageError(
                    f"{path} row {max(row, number)}: row {min(row, number)} contradicts it: "
                    f"a part of study {study} is called abnormal, the whole {other}"
                )


class _Known:
    """What there is to be judged."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.sizes = {
            row.study.key: {stack.key: len(stack.state) for stack in row.study.stacks}
            for row in rows
        }
        uids = ((str(row.study.info.get("StudyInstanceUID") or ""), row.study.key) for row in rows)
        self.keys = {uid: key for uid, key in uids if uid} | {key: key for key in self.sizes}

    def verdict(self, cells: Mapping[str, str]) -> tuple[str, Target, Verdict] | None:
        """Study, target and word of a row; None where it holds no verdict."""
        said = cells["verdict"].casefold()
        if not said:
            return None
        if said not in tuple(Verdict):
            raise _WrongRowError(f"verdict {_quoted(said)} is none of {', '.join(Verdict)}")
        study = self.keys.get(cells["study"])
        if study is None:
            raise _WrongRowError(f"the results have no study {_quoted(cells['study'])}")
        return study, self._target(study, cells["stack"], cells["slice"]), Verdict(said)

    def _target(self, study: str, stack: str, number: str) -> Target:
        sizes = self.sizes[study]
        if stack and stack not in sizes:
            raise _WrongRowError(f"study {study} has no stack {_quoted(stack)}")
        if not number:
            return (stack if len(sizes) > 1 else ""), 0
        if not stack and len(sizes) != 1:
            raise _WrongRowError(f"study {study} has {len(sizes)} stacks: name one for the slice")
        stack = stack or next(iter(sizes))
        matched = _SLICE.fullmatch(number)
        at = int(matched[1]) if matched else 0
        if not 1 <= at <= sizes[stack]:
            raise _WrongRowError(
                f"slice {_quoted(number)} is none of the 1 to {sizes[stack]} of stack {stack}"
            )
        return stack, at


def _quoted(text: str) -> str:
    return f"'{printable(text, 80)}'"


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number, the head being 1, and cells by `COLUMNS` of each row."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist, or is no file")
    number = 1
    try:
        # Nothing but ASCII is looked at: a comment may be in whatever a spreadsheet writes.
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            delimiter, names = _head(path, stream.readline(_HEAD))
            places = {name: names.index(name) for name in COLUMNS if name in names}
            for number, row in enumerate(csv.reader(stream, delimiter=delimiter, strict=True), 2):
                if any(row[len(names) :]):
                    raise UsageError(f"{path} row {number}: it has more cells than the first row")
                cells = {n: row[at].strip() for n, at in places.items() if at < len(row)}
                yield number, dict.fromkeys(COLUMNS, "") | cells
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise UsageError(f"{path} row {number + 1}: it is no row of a CSV file: {error}") from error


def _head(path: Path, line: str) -> tuple[str, list[str]]:
    """What separates cells, and the names of the columns."""
    for delimiter in ",;\t":
        cells = next(csv.reader([line], delimiter=delimiter), [])
        names = [cell.strip().casefold() for cell in cells]
        counts = [names.count(name) for name in COLUMNS]
        if counts[:2] == [1, 1] and max(counts) == 1:
            return delimiter, names
    raise UsageError(
        f"{path} row 1: it must name the columns study and verdict, and may name stack and slice, "
        "each once, separated by commas, semicolons or tabs"
    )
