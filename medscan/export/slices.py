"""All slices and all regions of maps as tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medscan.export.job import ExportJob, LeftOut
from medscan.files import make_folder
from medscan.report import write_csv


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write `slices.csv` and `regions.csv`, as `medscan report --slices --regions` does."""
    make_folder(job.out)
    for table in ("slices", "regions"):
        path = job.out / f"{table}.csv"
        write_csv(job.results, path, table)
        yield path
