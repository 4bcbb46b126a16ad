"""Every slice as a row of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medscan.export.job import ExportJob, Left
from medscan.files import make_folder
from medscan.report import write_csv


def export(job: ExportJob) -> Iterator[Path | Left]:
    """Write `slices.csv`, a row a slice: the very table of `medscan report --slices`."""
    make_folder(job.out)
    path = job.out / "slices.csv"
    write_csv(job.results, path, "slices")
    yield path
