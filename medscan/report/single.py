"""The report as one page that holds everything, for mailing and for the end of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medscan import results
from medscan.files import replacing
from medscan.report.content import Report, anchor
from medscan.report.options import DEFAULT, ReportOptions
from medscan.report.page import render
from medscan.report.pictures import data_uri
from medscan.report.source import Drawn
from medscan.report.study import KEY_SLICES
from medscan.report.table import write_csv
from medscan.results import Results


def write_html(files: Sequence[Results], path: Path, options: ReportOptions = DEFAULT) -> Drawn:
    """Write the worklist as one HTML page: all studies in the index, the worst with their slices.

    A study shows only slices with a picture, and of an archive only the worst of each stack are
    drawn, so that the page stays small enough to mail.

    Parameters
    ----------
    files : sequence of Results
        Read as one.
    path : Path
        Replaced in one rename.
    options : ReportOptions

    Returns
    -------
    Drawn

    Raises
    ------
    DiskError
        If the page cannot be written.
    """
    report = Report(files, options)
    drawn = report.draw_from_archive(_embed, most=KEY_SLICES)
    entries, views = [], []
    for index, row in enumerate(report.rows):
        if row.study.key not in report.featured:
            entries.append(report.entry(row, "", ""))
            continue
        study = row.results.with_arrays(row.study)
        address, last = anchor(study.key), report.last_studies(row)
        entries.append(report.entry(row, address, report.icon(row, study, _embed)))
        views.append((address[1:], report.view(index, study, last, _embed, every=False)))
    context = report.index(entries) | {"views": views}
    with replacing(path) as aside:
        aside.write_text(render("single.html", context, root=None), "utf-8")
    return drawn


def write_worklist(out: Path, table: Path, page: Path) -> None:
    """Write the worklist of a results file as CSV and as one page, as a scan does at its end."""
    files = [results.open(out)]
    write_csv(files, table)
    write_html(files, page)


def _embed(_study: str, _name: str, picture: bytes) -> str:
    return data_uri(picture)
