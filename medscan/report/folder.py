"""The report as a folder: an index, one page per study, and pictures that load when in view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medscan.files import make_folder, replacing
from medscan.report.cleanup import (
    INDEX,
    RUN,
    STUDIES,
    claim_folder,
    is_picture_of,
    remove_old_pages,
)
from medscan.report.content import Report, page_name, safe_name
from medscan.report.options import DEFAULT, ReportOptions
from medscan.report.page import SCRIPT, STYLE, asset, render
from medscan.report.single import write_html
from medscan.report.source import Drawn
from medscan.results import Results


def write_report(results: Sequence[Results], out: Path, options: ReportOptions = DEFAULT) -> Drawn:
    """Write index.html, run.html, and in studies/ a page and a folder of pictures per study.

    An earlier report in the folder is replaced file by file, index.html last; then pages and
    pictures of studies that it alone held are removed. Slices that it drew from files that have not
    changed since are kept and shown, unless the options say otherwise. Other files are left alone.

    Parameters
    ----------
    results : sequence of Results
        Read as one.
    out : Path
        Folder; made if missing.
    options : ReportOptions

    Returns
    -------
    Drawn

    Raises
    ------
    UsageError
        If the folder holds anything but a report.
    DiskError
        If a file cannot be written.
    """
    report, folder = Report(results, options), _ReportFolder(out)
    for name in (STYLE, SCRIPT):
        folder.write(name, asset(name).encode())
    drawn = report.draw_from_archive(folder.put)
    entries = []
    for index, row in enumerate(report.rows):
        study = row.results.with_arrays(row.study)
        last = report.last_studies(row)
        for one in (study, *last[1].values()) if options.keeps_slices else ():
            report.keep_drawn(one, folder.names(one.key), folder.recall)
        view = report.view(index, study, last, folder.put, every=True)
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


def write_single(results: Sequence[Results], out: Path, options: ReportOptions = DEFAULT) -> Drawn:
    """Write index.html, a page that holds everything, in place of any report in the folder.

    Parameters, return value and errors are those of `write_report`.
    """
    claim_folder(out)
    drawn = write_html(results, out / INDEX, options)
    remove_old_pages(out, {out / INDEX})
    return drawn


class _ReportFolder:
    """The folder of a report, which remembers the files written to it."""

    def __init__(self, out: Path) -> None:
        self.out, self.written = out, set[Path]()
        claim_folder(out)
        make_folder(out / STUDIES)

    def put(self, study: str, name: str, picture: bytes) -> str:
        """Write a picture and return its address relative to the pages of the studies."""
        make_folder(self.out / STUDIES / study)
        self.write(f"{STUDIES}/{study}/{name}", picture)
        return f"{study}/{name}"

    def names(self, key: str) -> set[str]:
        """Names of the pictures that a study's folder holds."""
        folder = self.out / STUDIES / safe_name(key)
        return {path.name for kind in ("jpg", "js") for path in folder.glob(f"*.{kind}")}

    def recall(self, study: str, name: str, source: str) -> str:
        """Keep a picture that an earlier report drew from this source; see `Recall`."""
        path = self.out / STUDIES / study / name
        if not is_picture_of(path, source):
            return ""
        self.written.add(path)
        return f"{study}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all."""
        path = self.out / name
        with replacing(path, synced=False) as aside:
            aside.write_bytes(data)
        self.written.add(path)
