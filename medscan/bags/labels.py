"""A table that says of studies whether they are normal or abnormal, checked row by row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medscan.errors import UsageError
from medscan.tables import TableRow, plain, read_table
from medscan.text import printable

NAMES = {
    "study": ("StudyInstanceUID", "StudyUID", "study"),
    "accession": ("AccessionNumber", "accession"),
    "path": ("path", "file", "folder"),
    "subject": ("subject", "participant_id"),
}
"""Columns that name a study, and how they may be written; the first that is filled in counts."""
OTHERS = {
    "label": ("label",),
    "session": ("session", "session_id"),
    "series": ("series", "SeriesInstanceUID", "SeriesNumber"),
    "slice": ("slice",),
    "patient": ("patient", "PatientID"),
    "split": ("split",),
}
COLUMNS = {plain(name): key for key, names in (NAMES | OTHERS).items() for name in names}
ADVICE = (
    "it must have a column label, and StudyInstanceUID, AccessionNumber, path or subject, each "
    "once, divided by commas, semicolons or tabs; see medscan-fit(1)"
)
LONGEST = 1024
"""Characters of a cell that is read."""
WORDS = ({"normal", "0"}, {"abnormal", "1"})
"""What a label may be, beside the user's own values: normal, and abnormal."""
_SLICE = re.compile(r"([0-9]{1,7})(\.0+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class StudyLabel:
    """A row of the table.

    Parameters
    ----------
    line : int
        Of the file.
    names : dict
        What names the study, by the keys of `NAMES`, and the session.
    label : int
        1 abnormal.
    series : str
        SeriesInstanceUID or number of the series that is meant; empty for the whole study.
    slice : int
        Number of the slice that is meant, from 1; 0 for the whole series or study.
    patient : str
        Empty where the table does not say it.
    """

    line: int
    names: Mapping[str, str]
    label: int
    series: str
    slice: int
    patient: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The rows of a table.

    Parameters
    ----------
    path : Path
    train : list of StudyLabel
    withheld : list of StudyLabel
        Rows of the split `test`: none of their patients may be fitted on.
    empty : int
        Rows without a label.
    others : Counter
        Rows by a label that the user did not say the meaning of, although that of others.
    """

    path: Path
    train: list[StudyLabel] = field(default_factory=list)
    withheld: list[StudyLabel] = field(default_factory=list)
    empty: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def for_fitting(self) -> Labels:
        """The same labels.

        Raises
        ------
        UsageError
            If there is no study for training.
        """
        if self.train:
            return self
        raise UsageError(f"{self.path} labels no study for training{self._why}")

    def for_testing(self) -> Labels:
        """The rows of the split `test` as those that count, if there are any; else all.

        Raises
        ------
        UsageError
            If no study is labelled.
        """
        if self.withheld:
            return replace(self, train=self.withheld, withheld=self.train)
        if self.train:
            return self
        raise UsageError(f"{self.path} labels no study{self._why}")

    @property
    def _why(self) -> str:
        why = "; ".join(self.notes())
        return f": {why}" if why else ""

    def notes(self) -> list[str]:
        """What was left out, as phrases."""
        found = [f"{self.empty} rows without a label"] if self.empty else []
        if self.others:
            shown = ", ".join(printable(value, 40) for value, _ in self.others.most_common(3))
            found.append(f"{self.others.total()} rows with other labels ({shown})")
        return found


def read_labels(path: Path, normal: Collection[str] = (), abnormal: Collection[str] = ()) -> Labels:
    """Read a table of labels.

    Parameters
    ----------
    path : Path
    normal, abnormal : collection of str
        Values of the column `label` that mean it, in any case, beside `normal` and `abnormal`. If
        there are any, rows with still other labels are left out; if not, they are errors.

    Raises
    ------
    UsageError
        If the table cannot be read, or a row is wrong; the message names its line.
    """
    meanings = _meanings(normal, abnormal)
    labels, empty, others = Labels(path), 0, Counter[str]()
    for row in read_table(path, COLUMNS, _suit, ADVICE):
        value = row.cells["label"].casefold()
        if not value:
            empty += 1
        elif value in meanings:
            parsed = _parse(path, row, meanings[value])
            (labels.withheld if _split(path, row) == "test" else labels.train).append(parsed)
        elif normal or abnormal:
            others[row.cells["label"]] += 1
        else:
            raise UsageError(
                f"{path} line {row.line}: label {_quoted(row.cells['label'])} is not normal or "
                "abnormal; say what it means with --normal or --abnormal"
            )
    return Labels(path, labels.train, labels.withheld, empty, others)


def _suit(columns: Collection[str]) -> bool:
    return "label" in columns and not NAMES.keys().isdisjoint(columns)


def _meanings(normal: Collection[str], abnormal: Collection[str]) -> dict[str, int]:
    """Label by value, in lower case."""
    meanings: dict[str, int] = {}
    for label, (own, words) in enumerate(zip((normal, abnormal), WORDS, strict=True)):
        for value in (*own, *(words - {text.strip().casefold() for text in (*normal, *abnormal)})):
            if meanings.setdefault(value.strip().casefold(), label) != label:
                raise UsageError(f"{_quoted(value)} cannot be both --normal and --abnormal")
    return meanings


def _parse(path: Path, row: TableRow, label: int) -> StudyLabel:
    where, cells = f"{path} line {row.line}", row.cells
    long = next((name for name, text in cells.items() if len(text) > LONGEST), None)
    if long:
        raise UsageError(f"{where}: {long} has more than {LONGEST} characters")
    names = {name: cells[name] for name in (*NAMES, "session") if cells.get(name)}
    if names.keys().isdisjoint(NAMES):
        raise UsageError(f"{where}: it has a label, but names no study")
    number = cells.get("slice", "")
    matched = _SLICE.fullmatch(number)
    if number and not (matched and int(matched[1])):
        raise UsageError(f"{where}: slice {_quoted(number)}: number slices from 1")
    index = int(matched[1]) if matched else 0
    return StudyLabel(
        row.line, names, label, cells.get("series", ""), index, cells.get("patient", "")
    )


def _split(path: Path, row: TableRow) -> str:
    split = row.cells.get("split", "").casefold() or "train"
    if split not in ("train", "test"):
        raise UsageError(f"{path} line {row.line}: split {_quoted(split)} is not train or test")
    return split


def _quoted(text: str) -> str:
    return f"'{printable(text, 80)}'"
