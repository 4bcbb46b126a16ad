"""All slices as a table, one row per slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medscan.export.job import ExportJob, LeftOut
from medscan.files import make_folder
from medscan.report import write_csv


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write `slices.csv`, one row per slice: the same table as `medscan report --slices`."""
    make_folder(job.out)
    path = job.out / "slices.csv"
    write_csv(job.results, path, "slices")
    yield path
