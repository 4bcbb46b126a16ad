"""Tables of results: a row per study, series, slice or region, as CSV or JSON lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import numpy as np

from medscan.report.cards import Cards, card_of, cards_of
from medscan.report.priors import last_prior, new_since, stack_new_since
from medscan.report.regions import measured
from medscan.report.standing import Standing
from medscan.report.wording import compare_with_normals
from medscan.report.worklist import Row, rank, worst_slice
from medscan.results import Results, StackResult, State, replacing
from medscan.text import cell, printable

COLUMNS: dict[str, str] = {
    "rank": "Rank in the worklist, from 1; empty if nothing was scored.",
    "study": "Key of the study in the results file.",
    "study_instance_uid": "StudyInstanceUID; empty for volumes and pictures.",
    "date": "StudyDate, YYYYMMDD.",
    "modality": "Modality, as in DICOM.",
    "patient": "Pseudonym of the patient: equal for all studies of one patient.",
    "path": "Folder or file below the archive root.",
    "score": "Anomaly score of its most abnormal stack, 6 decimals.",
    "percentile": "Share of normal stacks with a lower score, percent, 2 decimals.",
    "expected": "Share of normal studies to expect at this place or above, 6 decimals.",
    "normals": "The comparison with normals in words.",
    "threshold": "Score from which the detector flags, 6 decimals.",
    "flagged": "1 if any stack reaches its detector's threshold, else 0.",
    "uncertain": "1 if it is not flagged, but may not be cleared either; see medscan-accept(1).",
    "unlike": "Why a series is unlike what its detector was fitted on, that of its worst series or "
    "else of another; empty if none is, or no detector has a gate.",
    "provisional": "1 if the threshold was set from too few normals, else 0.",
    "detector": "Name of the detector that gave the score.",
    "series": "Number of series with scored slices.",
    "slices": "Number of scored slices.",
    "worst_series_instance_uid": "SeriesInstanceUID of the most abnormal stack.",
    "worst_sop_instance_uid": "SOPInstanceUID of its slice with the highest score.",
    "worst_frame": "Frame number of that slice in its file, from 0.",
    "reason": "Why nothing was scored, or what was left out.",
    "stale": "1 if a detector or the preprocessing has changed since the scan, else 0.",
    "kept": "Detectors whose score is kept from an earlier scan, which the last one did not give "
    "again, each with the time of that scan.",
    "assumed": "What the header of its worst series does not say and its detector asks for: it was "
    "named; empty if nothing is assumed.",
    "absent": "When its files were first found missing, ISO 8601; empty if they exist.",
    "prior": "Key of the last earlier study of the patient that its most abnormal series compares "
    "with: scored by the same detector in the same way; empty if there is none.",
    "prior_date": "Date of that study, YYYYMMDD.",
    "prior_score": "Score of the series that compares, 6 decimals.",
    "new_since": "That date if the study is flagged, and all of it was clear then; else empty.",
    "patient_id": "PatientID; empty unless the scan ran with --identify.",
    "accession_number": "AccessionNumber; empty unless the scan ran with --identify.",
    "age": "Age as DICOM writes it, of BIDS data sets; empty unless the scan ran with --identify.",
    "sex": "M, F or O, of BIDS data sets; empty unless the scan ran with --identify.",
}
"""Meaning of each column of the table of studies, in their order."""

SERIES_COLUMNS: dict[str, str] = {
    "rank": "Rank of its study in the worklist.",
    "study": "Key of its study in the results file.",
    "stack": "Key of the stack in the study: slices of one series that form one volume.",
    "series_instance_uid": "SeriesInstanceUID; empty for volumes and pictures.",
    "modality": "Modality, as in DICOM.",
    "body_part": "BodyPartExamined, as in DICOM.",
    "sequence": "Sequence that its detector was fitted for.",
    "plane": "axial, coronal, sagittal, or empty.",
    "score": "Anomaly score of the stack, 6 decimals; empty if no slice was scored.",
    "percentile": "Share of normal stacks with a lower score, percent, 2 decimals.",
    "expected": "Share of normal stacks of as many slices to expect here or above, 6 decimals.",
    "normals": "The comparison with normals in words.",
    "threshold": "Score from which a stack of as many slices is flagged, 6 decimals.",
    "flagged": "1 if the score reaches the threshold, else 0.",
    "uncertain": "1 if it is not flagged, but may not be cleared either, else 0.",
    "unlike": "Why it is unlike what its detector was fitted on; empty if it is not.",
    "distance": "Median distance of its slices from the shots, 3 decimals: from 1 on, it is beyond "
    "what 1 in 20 normal slices like these are; empty if its detector has no gate.",
    "provisional": "1 if the threshold was set from too few normals, else 0.",
    "detector": "Name of the detector.",
    "detector_hash": "SHA-256 of its file.",
    "assumed": "What its header does not say and its detector, which was named, asks for.",
    "kept": "When it was scored, if the score is kept from an earlier scan; else empty.",
    "prior": "Key of the last earlier study of the patient with a stack that compares, or empty.",
    "prior_stack": "Key of that stack: scored by the same detector in the same way.",
    "prior_date": "Date of that study, YYYYMMDD.",
    "prior_score": "Score of that stack, 6 decimals.",
    "new_since": "That date if this stack is flagged, and all that compare were clear; else empty.",
    "scored": "Number of scored slices.",
    "background": "Number of slices that show only background.",
    "failed": "Number of slices that could not be used.",
    "passed_over": "Number of slices between scored ones that --every left out.",
    "worst_number": "Number in the stack, from 1, of the slice with the highest score.",
    "worst_sop_instance_uid": "SOPInstanceUID of that slice.",
    "worst_frame": "Frame number of that slice in its file, from 0.",
    "description": "SeriesDescription; empty unless the scan ran with --identify.",
}
"""Columns of the table of series."""

SLICE_COLUMNS: dict[str, str] = {
    "study": "Key of its study in the results file.",
    "stack": "Key of its stack in the study.",
    "number": "Number in the stack, from 1.",
    "series_instance_uid": "SeriesInstanceUID; empty for volumes and pictures.",
    "sop_instance_uid": "SOPInstanceUID; empty for volumes and pictures.",
    "path": "File below the archive root.",
    "frame": "Frame number in that file, from 0.",
    "position_mm": "Position along the normal of the stack, millimetres, 3 decimals.",
    "state": "scored, background, failed or passed_over.",
    "score": "Anomaly score of the slice, 6 decimals; empty if it was not scored.",
    "threshold": "Score from which the detector flags a single slice, 6 decimals.",
    "flagged": "1 if the score reaches the threshold, else 0.",
    "detector": "Name of the detector.",
}
"""Columns of the table of slices."""

REGION_COLUMNS: dict[str, str] = {
    "rank": "Rank of its study in the worklist.",
    "study": "Key of its study in the results file.",
    "stack": "Key of its stack in the study.",
    "series_instance_uid": "SeriesInstanceUID; empty for volumes and pictures.",
    "region": "Number in the stack, from 1, highest score first; at most 20 of a stack.",
    "peak": "Highest patch score, 6 decimals.",
    "threshold": "The detector's threshold for patches, 6 decimals: the region is above it.",
    "peak_number": "Number in the stack, from 1, of the slice with that score.",
    "peak_sop_instance_uid": "SOPInstanceUID of that slice.",
    "peak_frame": "Frame number of that slice in its file, from 0.",
    "first_number": "Number of its first slice.",
    "last_number": "Number of its last slice.",
    "slices": "Number of its slices.",
    "area_mm2": "Area in the slice where it is largest, square millimetres, 1 decimal.",
    "volume_mm3": "Volume, cubic millimetres, 1 decimal; empty where slices do not lie evenly, or "
    "one beside it was passed over.",
    "diameter_mm": "Largest distance between two of its points, millimetres, 1 decimal.",
    "extent_rl_mm": "Extent from right to left, millimetres, 1 decimal.",
    "extent_ap_mm": "Extent from front to back.",
    "extent_fh_mm": "Extent from foot to head.",
    "centre_l_mm": "Mean of its points to the patient's left of the origin, 1 decimal.",
    "centre_p_mm": "The same to the back.",
    "centre_h_mm": "The same to the head.",
    "masked": "1 if the detector was fitted with masks of lesions, 0 if not: then its map shows "
    "evidence, not a border; empty if the file does not say.",
    "detector": "Name of the detector.",
}
"""Columns of the table of regions of maps."""

Value = str | int | float | Decimal | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the meaning of each column in their order, and the rows of a study."""

    columns: dict[str, str]
    rows: Callable[[Row], Iterator[list[Value]]]


def write_csv(results: Sequence[Results], path: Path, table: str = "results") -> None:
    """Write one of `TABLES` as UTF-8 CSV.

    Text that a spreadsheet would run as a formula gets a leading apostrophe; numbers do not.

    Parameters
    ----------
    results : sequence of Results
        Read as one.
    path : Path
        Replaced in one rename.
    table : str
        "results": a row per study, most abnormal first; "series": a row per stack; "slices": a row
        per slice; "regions": a row per region of their maps; all in the order of the studies.

    Raises
    ------
    DiskError
        If the table cannot be written.
    """
    write_table(path, TABLES[table].columns, _rows(results, TABLES[table]))


def write_json_lines(results: Sequence[Results], path: Path, table: str = "results") -> None:
    """Write one of `TABLES` as JSON lines: an object per row, with the columns of the CSV file.

    Numbers are JSON numbers; cells that are empty in CSV are null.

    Raises
    ------
    DiskError
        If the table cannot be written.
    """
    with replacing(path) as aside, aside.open("w", encoding="utf-8") as stream:
        for record in table_records(results, table):
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def table_records(
    results: Sequence[Results], table: str = "results"
) -> Iterator[dict[str, str | int | float | None]]:
    """Yield the rows of one of `TABLES` by column; cells that are empty in CSV are None."""
    columns = list(TABLES[table].columns)
    for row in _rows(results, TABLES[table]):
        yield dict(zip(columns, map(_json_value, row), strict=True))


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
    worst_index = worst_slice(worst) if worst else 0
    prior, _, *facts_of_prior = _prior(row, worst)
    yield [
        row.rank,
        study.key,
        info.get("StudyInstanceUID", ""),
        info.get("date", ""),
        info.get("modality", ""),
        info.get("patient", ""),
        info.get("path", ""),
        decimals(row.score),
        decimals(worst.percentile, 2) if worst else None,
        *_compared(row.place.study, "studies"),
        decimals(worst.info["threshold"]) if worst else None,
        int(study.flagged),
        int(study.uncertain),
        _unlike(row),
        int(bool(worst and worst.info["provisional"])),
        worst.info["detector"] if worst else "",
        row.series,
        row.slices,
        worst.info["SeriesInstanceUID"] if worst else "",
        worst.sop_instance_uid[worst_index] if worst else "",
        int(worst.frame[worst_index]) if worst else None,
        row.reason,
        int(study.mark.stale),
        "; ".join(f"{name} {when}" for name, when in row.kept.items()),
        "; ".join(worst.assumed) if worst else "",
        study.mark.absent,
        prior,
        *facts_of_prior,
        new_since(row).replace("-", ""),
        info.get("patient_id", ""),
        info.get("accession_number", ""),
        info.get("age", ""),
        info.get("sex", ""),
    ]


def _unlike(row: Row) -> str:
    stacks = row.place.sorted(row.study.stacks)
    return next(("; ".join(stack.unlike) for stack in stacks if stack.unlike), "")


def _compared(standing: Standing, what: str) -> tuple[Decimal | None, str]:
    words = compare_with_normals(standing, what) if standing.compared else ""
    return decimals(standing.expected), words


def _prior(row: Row, stack: StackResult | None) -> list[Value]:
    """Study, stack, date and score of the last earlier study that compares with a stack."""
    prior = last_prior(row, stack) if stack else None
    if prior is None:
        return ["", "", "", None]
    day = str(prior.row.study.info["date"])
    return [prior.row.study.key, prior.stack.key, day, decimals(prior.stack.score)]


def _series(row: Row) -> Iterator[list[Value]]:
    for stack in row.study.stacks:
        info, scored = stack.info, not math.isnan(stack.score)
        worst_index = worst_slice(stack) if scored else 0
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
            *_compared(row.place.of(stack), "series"),
            decimals(info["threshold"]),
            int(stack.flagged),
            int(stack.uncertain),
            "; ".join(stack.unlike),
            decimals(float(info.get("distance", math.nan)), 3),
            int(info["provisional"]),
            info["detector"],
            info["detector_hash"],
            "; ".join(stack.assumed),
            row.study.kept_from(stack),
            *_prior(row, stack),
            stack_new_since(row, stack).replace("-", ""),
            *(int(np.count_nonzero(stack.state == state)) for state in State),
            worst_index + 1 if scored else None,
            stack.sop_instance_uid[worst_index] if scored else "",
            int(stack.frame[worst_index]) if scored else None,
            info.get("description", ""),
        ]


def _slices(row: Row) -> Iterator[list[Value]]:
    for stack in row.study.stacks:
        for index in range(len(stack.state)):
            yield _slice(row.study.key, stack, index)


def _slice(study: str, stack: StackResult, index: int) -> list[Value]:
    score, threshold = float(stack.slice_score[index]), float(stack.info["slice_threshold"])
    return [
        study,
        stack.key,
        index + 1,
        stack.info["SeriesInstanceUID"],
        stack.sop_instance_uid[index],
        stack.path[index],
        int(stack.frame[index]),
        decimals(float(stack.position_mm[index]), 3),
        State(stack.state[index]).name.lower(),
        decimals(score),
        decimals(threshold),
        int(score >= threshold),
        stack.info["detector"],
    ]


def _regions(row: Row) -> Iterator[list[Value]]:
    cards = _cards(row.results)
    known = row.regions.keys() >= {stack.key for stack in row.study.stacks}
    study = row.study if known else row.results.with_arrays(row.study)
    for stack in study.stacks:
        card = card_of(stack, cards)
        if card is None or card.scale is None:
            continue
        for number, region in enumerate(measured(row.regions, stack, card.scale.middle), 1):
            lengths = (region.area_mm2, region.volume_mm3, region.diameter_mm)
            masked = card.facts.get("masked")
            yield [
                row.rank,
                row.study.key,
                stack.key,
                stack.info["SeriesInstanceUID"],
                number,
                decimals(region.peak),
                decimals(card.scale.middle),
                region.worst + 1,
                stack.sop_instance_uid[region.worst],
                int(stack.frame[region.worst]),
                region.first + 1,
                region.last + 1,
                region.slices,
                *(decimals(mm, 1) for mm in (*lengths, *region.extent_mm, *region.centre)),
                int(masked) if isinstance(masked, bool) else None,
                stack.info["detector"],
            ]


@lru_cache(maxsize=2)
def _cards(results: Results) -> Cards:
    return cards_of([results.run()])


TABLES: dict[str, Table] = {
    "results": Table(COLUMNS, _study),
    "series": Table(SERIES_COLUMNS, _series),
    "slices": Table(SLICE_COLUMNS, _slices),
    "regions": Table(REGION_COLUMNS, _regions),
}
"""Tables by the stem of their files."""
