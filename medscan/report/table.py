"""results.csv: a row a study, worst first."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from medscan.report.text import cell
from medscan.report.worklist import Row, rank, worst_slice
from medscan.results import Results, replacing

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
    "patient_id": "PatientID; empty unless the scan ran with --identify.",
}
"""Columns of the table, in their order, and what each says."""

Value = str | int | float | None


def write_csv(results: Sequence[Results], path: Path) -> None:
    """Write the worklist as UTF-8 CSV with the columns of `COLUMNS`.

    Text that a spreadsheet would run is defused with an apostrophe; numbers stay numbers.

    Parameters
    ----------
    results : sequence of Results
        Read as one.
    path : Path
        Replaced in one rename.

    Raises
    ------
    DiskError
        It could not be written.
    """
    write_table(path, COLUMNS, (_values(row) for row in rank(results)))


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Value]]) -> None:
    """Write a CSV file that is safe to open in a spreadsheet."""
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([cell(v) if isinstance(v, str) else v for v in row] for row in rows)


def decimals(value: float, digits: int = 6) -> str:
    """A number with fixed precision; an empty cell for NaN."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _values(row: Row) -> list[Value]:
    study, info, worst = row.study, row.study.info, row.worst
    at = worst_slice(worst) if worst else 0
    return [
        row.rank,
        study.key,
        info.get("StudyInstanceUID", ""),
        info.get("date", ""),
        info.get("modality", ""),
        info.get("patient", ""),
        info.get("path", ""),
        decimals(study.score),
        decimals(study.percentile, 2),
        decimals(worst.info["threshold"]) if worst else "",
        int(study.flagged),
        int(bool(worst and worst.info["provisional"])),
        worst.info["detector"] if worst else "",
        row.series,
        row.slices,
        worst.info["SeriesInstanceUID"] if worst else "",
        worst.sop_instance_uid[at] if worst else "",
        int(worst.frame[at]) if worst else "",
        row.reason,
        info.get("patient_id", ""),
    ]
