"""The report as a folder: an index, a page a study, and pictures that load when they are seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medscan.files import make_folder, replacing
from medscan.report.cleanup import INDEX, RUN, STUDIES, claim, remove_old_pages
from medscan.report.content import DEFAULT, Report, ReportOptions, page_name
from medscan.report.page import SCRIPT, STYLE, asset, render
from medscan.report.single import write_html
from medscan.results import Results


def write_report(results: Sequence[Results], out: Path, options: ReportOptions = DEFAULT) -> int:
    """Write index.html, run.html, and in studies/ a page and a folder of pictures a study.

    A report that is there already is replaced file by file, index.html last; then pages and
    pictures of studies that are in it no more are removed. Other files are left alone.

    Parameters
    ----------
    results : sequence of Results
        Read as one.
    out : Path
        Folder; made if missing.
    options : ReportOptions

    Returns
    -------
    int
        Slices that were drawn from the archives.

    Raises
    ------
    UsageError
        There is a folder, but not of a report, and it is not empty.
    DiskError
        Something could not be written.
    """
    report, folder = Report(results, options), _Folder(out)
    for name in (STYLE, SCRIPT):
        folder.write(name, asset(name).encode())
    drawn = report.draw(folder.put)
    entries = []
    for place, row in enumerate(report.rows):
        study = row.results.whole(row.study)
        view = report.view(place, study, folder.put, every=True)
        page = f"{STUDIES}/{page_name(study.key)}"
        context = {"view": view, "total": len(report.rows), "report": report.name}
        folder.write(page, render("study.html", context, root="../").encode())
        icon = report.icon(row, study, folder.put)
        entries.append(report.entry(row, page, icon and f"{STUDIES}/{icon}"))
    about = {"run": report.run, "agreement": report.agreement}
    folder.write(RUN, render("run.html", about, root="").encode())
    folder.write(INDEX, render("index.html", report.index(entries), root="").encode())
    remove_old_pages(out, folder.written)
    return drawn


def write_single(results: Sequence[Results], out: Path, options: ReportOptions = DEFAULT) -> int:
    """Write index.html, a page that holds everything, in place of any report in the folder.

    Parameters, result and errors are those of `write_report`.
    """
    claim(out)
    drawn = write_html(results, out / INDEX, options)
    remove_old_pages(out, {out / INDEX})
    return drawn


class _Folder:
    """Where the files go, and which they were."""

    def __init__(self, out: Path) -> None:
        self.out, self.written = out, set[Path]()
        claim(out)
        make_folder(out / STUDIES)

    def put(self, study: str, name: str, picture: bytes) -> str:
        """Keep a picture; its address seen from the pages of the studies."""
        make_folder(self.out / STUDIES / study)
        self.write(f"{STUDIES}/{study}/{name}", picture)
        return f"{study}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        path = self.out / name
        with replacing(path, synced=False) as aside:
            aside.write_bytes(data)
        self.written.add(path)
