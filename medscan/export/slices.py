"""Every slice as a row of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medscan.export.job import Job, Left, make_folder
from medscan.report.table import Value, decimals, write_table
from medscan.results import Results, State

COLUMNS = (
    "study",
    "study_instance_uid",
    "stack",
    "series_instance_uid",
    "path",
    "sop_instance_uid",
    "frame",
    "position_mm",
    "state",
    "score",
    "threshold",
    "detector",
)


def export(job: Job) -> Iterator[Path | Left]:
    """Write `slices.csv`: a row a slice, by study, stack and place in the stack."""
    make_folder(job.out)
    path = job.out / "slices.csv"
    write_table(path, COLUMNS, _rows(job.results))
    yield path


def _rows(results: Results) -> Iterator[list[Value]]:
    for study in results.studies(arrays=False):
        for stack in study.stacks:
            for at, score in enumerate(stack.slice_score.tolist()):
                yield [
                    study.key,
                    study.info["StudyInstanceUID"],
                    stack.key,
                    stack.info["SeriesInstanceUID"],
                    stack.path[at],
                    stack.sop_instance_uid[at],
                    int(stack.frame[at]),
                    decimals(float(stack.position_mm[at]), 3),
                    State(stack.state[at]).name.lower(),
                    decimals(score),
                    decimals(stack.info["threshold"]),
                    stack.info["detector"],
                ]
