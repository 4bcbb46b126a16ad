"""`medscan report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medscan.results import Results

LISTED = 10
"""Missing shards that are named."""


def report(
    results: Annotated[list[Path], typer.Argument(help="Results files; several read as one.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write into; default: the first file's name with .report."),
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="One page that holds everything, for mailing.")
    ] = False,
    archive: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that was scanned, to draw every slice from; may be repeated."),
    ] = None,
    pictures: Annotated[
        str,
        typer.Option(
            help="Studies to draw from --archive or to embed with --single-file, flagged ones "
            "first, then by rank; or all."
        ),
    ] = "200",
    compare: Annotated[
        Path | None, typer.Option(help="Older results file: say what is new since.")
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="CSV of a radiologist's verdicts, shown beside the flags."),
    ] = None,
    series: Annotated[
        bool, typer.Option("--series", help="Write series.csv too: a row a series.")
    ] = False,
    slices: Annotated[
        bool, typer.Option("--slices", help="Write slices.csv too: a row a slice.")
    ] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Write the tables as JSON lines too.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode --archive.")] = 1,
    key_file: Annotated[
        Path | None, typer.Option(help="Key of the pseudonyms; default: beside the results.")
    ] = None,
) -> None:
    """Write the worklist of results: a folder of pages to open in a browser, and tables."""
    from medscan import report
    from medscan import results as reader
    from medscan.cli.keys import pseudonyms_for
    from medscan.cli.logs import tell
    from medscan.errors import UsageError

    if pictures != "all" and not pictures.isdecimal():
        raise UsageError(f"--pictures {pictures}: a whole number, or all")
    if missing := [root for root in archive or [] if not root.exists()]:
        raise UsageError(f"--archive {missing[0]} does not exist")
    found = [reader.open(path) for path in results]
    _tell_of_shards(found)
    options = report.ReportOptions(
        most=None if pictures == "all" else int(pictures),
        archives=tuple(archive or ()),
        old=reader.open(compare) if compare else None,
        workers=workers,
        keys=tuple(pseudonyms_for(file, key_file) for file in found) if archive else (None,),
        decisions=report.read_decisions(decisions, found) if decisions else None,
    )
    writers = {"csv": report.write_csv} | ({"jsonl": report.write_json_lines} if jsonl else {})
    folder = out or results[0].with_suffix(".report")
    drawn = (report.write_single if single_file else report.write_report)(found, folder, options)
    written = set()
    for table in ["results", *["series"] * series, *["slices"] * slices]:
        for kind, write in writers.items():
            written.add(folder / f"{table}.{kind}")
            write(found, folder / f"{table}.{kind}", table)
    report.remove_old_tables(folder, written)
    if archive and not drawn:
        tell("no slice of these results lies in --archive: pictures are those that the scan kept")
    typer.echo(f"open {folder / 'index.html'}")


def _tell_of_shards(files: list[Results]) -> None:
    """A worklist that lacks studies must not look whole."""
    from medscan.cli.logs import tell
    from medscan.results import missing_shards

    missing = missing_shards(files)
    if missing and len(files) > 1:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        tell(f"not in this report: shards {', '.join(missing[:LISTED])}{more}")
