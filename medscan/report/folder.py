"""The report as a folder: an index, a page a study, and pictures that load when they are seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medscan.errors import UsageError
from medscan.files import make_folder, replacing
from medscan.report.content import DEFAULT, Report, ReportOptions, page_name
from medscan.report.page import SCRIPT, STYLE, asset, render
from medscan.results import Results

STUDIES = "studies"
MARK = '<meta name="generator" content="medscan">'
"""By this a page is known to be a report's."""
_PAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.html")
_PICTURE = re.compile(r"icon\.jpg|[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9]{4,}\.jpg")


def write_report(results: Sequence[Results], out: Path, options: ReportOptions = DEFAULT) -> None:
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
    report.draw(folder.put)
    entries = []
    for place, row in enumerate(report.rows):
        study = row.results.study(row.study.key)
        view = report.view(place, study, folder.put, every=True)
        page = f"{STUDIES}/{page_name(study.key)}"
        context = {"view": view, "total": len(report.rows)}
        folder.write(page, render("study.html", context, root="../").encode())
        icon = report.icon(row, study, folder.put)
        entries.append(report.entry(row, page, icon and f"{STUDIES}/{icon}"))
    folder.write("run.html", render("run.html", {"run": report.run}, root="").encode())
    folder.write("index.html", render("index.html", report.index(entries), root="").encode())
    folder.sweep()


def claim(out: Path) -> None:
    """Make a folder for a report; one that holds a report already, whole or not, is taken over.

    Raises
    ------
    UsageError
        It holds something else.
    DiskError
        It could not be made.
    """
    make_folder(out)
    index, names = out / "index.html", {path.name for path in out.iterdir()}
    if index.is_file():
        ours = MARK in index.read_text("utf-8", errors="replace")
    else:
        ours = names <= {STYLE, SCRIPT, STUDIES, "run.html"}
    if not ours:
        raise UsageError(f"{out} is not empty and holds no report; name another folder")


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

    def sweep(self) -> None:
        """Remove pages and pictures of earlier reports."""
        studies = self.out / STUDIES
        old = [p for p in studies.glob("*.html") if _PAGE.fullmatch(p.name)]
        old += [p for p in studies.glob("*/*.jpg") if _PICTURE.fullmatch(p.name)]
        for path in old:
            if path not in self.written:
                path.unlink()
        for folder in studies.iterdir():
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                folder.rmdir()
