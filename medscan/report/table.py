"""Tables of results: a row a study, a series or a slice, as CSV or JSON lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from medscan.report.worklist import Row, rank, worst_slice
from medscan.results import Results, StackResult, State, replacing
from medscan.text import cell, printable

COLUMNS: dict[str, str] = {
    "rank": "Place in the worklist from 1; empty when nothing was scored.",
    "study": "Key of the study in the results file.",
    "study_instance_uid": "StudyInstanceUID; empty for volumes and pictures.",
    "date": "StudyDate, YYYYMMDD.",
    "modality": "Modality, as in DICOM.",
    "patient": "Pseudonym of the patient: equal for all studies of one patient.",
    "path": "Folder or file below the archive root.",
    "score": "Anomaly score of the study, 6 decimals.",
    "percentile": "Share of calibration normals with a lower score, percent, 2 decimals.",
    "threshold": "Score from which the detector flags, 6 decimals.",
    "flagged": "1 when any stack reaches its detector's threshold, else 0.",
    "provisional": "1 when the threshold rests on too few normals, else 0.",
    "detector": "Name of the detector that gave the score.",
    "series": "Number of series with scored slices.",
    "slices": "Number of scored slices.",
    "worst_series_instance_uid": "SeriesInstanceUID of the stack with the highest score.",
    "worst_sop_instance_uid": "SOPInstanceUID of its slice with the highest score.",
    "worst_frame": "Frame number of that slice in its file, from 0.",
    "reason": "Why nothing was scored, and what was left out.",
    "stale": "1 when a detector or the preprocessing has changed since, else 0.",
    "absent": "Since when its files are missing, ISO 8601; empty while they are there.",
    "patient_id": "PatientID; empty unless the scan ran with --identify.",
}
"""Columns of the table of studies, in their order, and what each says."""

SERIES_COLUMNS: dict[str, str] = {
    "rank": "Place of its study in the worklist.",
    "study": "Key of its study in the results file.",
    "stack": "Key of the stack in the study: slices of one series that lie on one another.",
    "series_instance_uid": "SeriesInstanceUID; empty for volumes and pictures.",
    "modality": "Modality, as in DICOM.",
    "body_part": "BodyPartExamined, as in DICOM.",
    "sequence": "Sequence that its detector was fitted for.",
    "plane": "axial, coronal, sagittal, or empty.",
    "score": "Anomaly score of the stack, 6 decimals; empty when no slice was scored.",
    "percentile": "Share of normal stacks with a lower score, percent, 2 decimals.",
    "threshold": "Score from which a stack of as many slices is flagged, 6 decimals.",
    "flagged": "1 when the score reaches the threshold, else 0.",
    "provisional": "1 when the threshold rests on too few normals, else 0.",
    "detector": "Name of the detector.",
    "detector_hash": "SHA-256 of its file.",
    "scored": "Number of slices that were scored.",
    "background": "Number of slices that show nothing.",
    "failed": "Number of slices that could not be used.",
    "worst_number": "Place in the stack, from 1, of the slice with the highest score.",
    "worst_sop_instance_uid": "SOPInstanceUID of that slice.",
    "worst_frame": "Frame number of that slice in its file, from 0.",
    "description": "Of the series; empty unless the scan ran with --identify.",
}
"""Columns of the table of series."""

SLICE_COLUMNS: dict[str, str] = {
    "study": "Key of its study in the results file.",
    "stack": "Key of its stack in the study.",
    "number": "Place in the stack, from 1.",
    "series_instance_uid": "SeriesInstanceUID; empty for volumes and pictures.",
    "sop_instance_uid": "SOPInstanceUID; empty for volumes and pictures.",
    "path": "File below the archive root.",
    "frame": "Frame number in that file, from 0.",
    "position_mm": "Place along the normal of the stack, millimetres, 3 decimals.",
    "state": "scored, background or failed.",
    "score": "Anomaly score of the slice, 6 decimals; empty when it was not scored.",
    "threshold": "Score from which the detector flags a single slice, 6 decimals.",
    "flagged": "1 when the score reaches the threshold, else 0.",
    "detector": "Name of the detector.",
}
"""Columns of the table of slices."""

Value = str | int | float | Decimal | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns in their order, and the rows that a study gives."""

    columns: dict[str, str]
    rows: Callable[[Row], Iterator[list[Value]]]


def write_csv(results: Sequence[Results], path: Path, table: str = "results") -> None:
    """Write one of `TABLES` as UTF-8 CSV.

    Text that a spreadsheet would run is defused with an apostrophe; numbers stay numbers.

    Parameters
    ----------
    results : sequence of Results
        Read as one.
    path : Path
        Replaced in one rename.
    table : str
        "results": a row a study, worst first; "series": a row a stack; "slices": a row a slice,
        both in the order of the studies.

    Raises
    ------
    DiskError
        It could not be written.
    """
    write_table(path, TABLES[table].columns, _rows(results, TABLES[table]))


def write_json_lines(results: Sequence[Results], path: Path, table: str = "results") -> None:
    """Write one of `TABLES` as JSON lines: an object a row, with the columns of the CSV file.

    Numbers are numbers, what is empty in CSV is null.

    Raises
    ------
    DiskError
        It could not be written.
    """
    columns = list(TABLES[table].columns)
    with replacing(path) as aside, aside.open("w", encoding="utf-8") as stream:
        for row in _rows(results, TABLES[table]):
            values = dict(zip(columns, map(_json_value, row), strict=True))
            stream.write(json.dumps(values, ensure_ascii=False) + "\n")


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Value]]) -> None:
    """Write a CSV file that is safe to open in a spreadsheet."""
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([cell(v) if isinstance(v, str) else v for v in row] for row in rows)


def decimals(value: float, digits: int = 6) -> Decimal | None:
    """A number with fixed precision; None for NaN."""
    return None if math.isnan(value) else Decimal(f"{value:.{digits}f}")


def _json_value(value: Value) -> str | int | float | None:
    if isinstance(value, str):
        return printable(value) or None
    return float(value) if isinstance(value, Decimal) else value


def _rows(results: Sequence[Results], table: Table) -> Iterator[list[Value]]:
    for row in rank(results):
        yield from table.rows(row)


def _study(row: Row) -> Iterator[list[Value]]:
    study, info, worst = row.study, row.study.info, row.worst
    at = worst_slice(worst) if worst else 0
    yield [
        row.rank,
        study.key,
        info.get("StudyInstanceUID", ""),
        info.get("date", ""),
        info.get("modality", ""),
        info.get("patient", ""),
        info.get("path", ""),
        decimals(study.score),
        decimals(study.percentile, 2),
        decimals(worst.info["threshold"]) if worst else None,
        int(study.flagged),
        int(bool(worst and worst.info["provisional"])),
        worst.info["detector"] if worst else "",
        row.series,
        row.slices,
        worst.info["SeriesInstanceUID"] if worst else "",
        worst.sop_instance_uid[at] if worst else "",
        int(worst.frame[at]) if worst else None,
        row.reason,
        int(study.mark.stale),
        study.mark.absent,
        info.get("patient_id", ""),
    ]


def _series(row: Row) -> Iterator[list[Value]]:
    for stack in row.study.stacks:
        info, scored = stack.info, not math.isnan(stack.score)
        at = worst_slice(stack) if scored else 0
        yield [
            row.rank,
            row.study.key,
            stack.key,
            info["SeriesInstanceUID"],
            info["modality"],
            info["body_part"],
            info.get("sequence", ""),
            info["plane"],
            decimals(stack.score),
            decimals(stack.percentile, 2),
            decimals(info["threshold"]),
            int(stack.flagged),
            int(info["provisional"]),
            info["detector"],
            info["detector_hash"],
            *(int(np.count_nonzero(stack.state == state)) for state in State),
            at + 1 if scored else None,
            stack.sop_instance_uid[at] if scored else "",
            int(stack.frame[at]) if scored else None,
            info.get("description", ""),
        ]


def _slices(row: Row) -> Iterator[list[Value]]:
    for stack in row.study.stacks:
        for at in range(len(stack.state)):
            yield _slice(row.study.key, stack, at)


def _slice(study: str, stack: StackResult, at: int) -> list[Value]:
    score, threshold = float(stack.slice_score[at]), float(stack.info["slice_threshold"])
    return [
        study,
        stack.key,
        at + 1,
        stack.info["SeriesInstanceUID"],
        stack.sop_instance_uid[at],
        stack.path[at],
        int(stack.frame[at]),
        decimals(float(stack.position_mm[at]), 3),
        State(stack.state[at]).name.lower(),
        decimals(score),
        decimals(threshold),
        int(score >= threshold),
        stack.info["detector"],
    ]


TABLES: dict[str, Table] = {
    "results": Table(COLUMNS, _study),
    "series": Table(SERIES_COLUMNS, _series),
    "slices": Table(SLICE_COLUMNS, _slices),
}
"""By the stem of their files."""
