"""`medscan report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medscan.cli.logs import tell
from medscan.cli.options import (
    INPUT,
    OUTPUT,
    KeyFile,
    LinkTemplate,
    archive_option,
    option,
    whole_number,
)
from medscan.cli.options import window as parse_window
from medscan.files import private_files

if TYPE_CHECKING:
    from medscan.results import Results

LISTED = 10
"""How many missing shards are listed by name."""


def _full_slices(text: Any) -> int | str:
    """Parse `--full-slices`."""
    if text in ("all", "flagged"):
        return str(text)
    return whole_number("--full-slices", "all or flagged")(text) or 0


def report(
    results: Annotated[list[Path], typer.Argument(help="Results files; several are read as one.")],
    archive: Annotated[list[Path] | None, archive_option(", to draw every slice")] = None,
    compare: Annotated[
        Path | None, option(INPUT, "Older results file; mark what has changed since.")
    ] = None,
    decisions: Annotated[
        Path | None, option(INPUT, "CSV of a radiologist's verdicts, to show beside the flags.")
    ] = None,
    key_file: KeyFile = None,
    workers: Annotated[int, option(INPUT, "Processes that decode --archive.", min=1)] = 1,
    out: Annotated[
        Path | None,
        option(
            OUTPUT,
            "Folder to write into.",
            show_default="name of the first file, ending in .report",
        ),
    ] = None,
    link_template: LinkTemplate = None,
    single_file: Annotated[
        bool,
        option(OUTPUT, "Write one page that holds everything, to send by mail.", "--single-file"),
    ] = False,
    pictures: Annotated[
        int | None,
        option(
            OUTPUT,
            "How many studies get pictures, with --archive or --single-file: those that rank "
            "first.",
            metavar="N|all",
            parser=whole_number("--pictures", "all"),
        ),
    ] = 200,
    keep_slices: Annotated[
        bool, option(OUTPUT, "Show the slices that an earlier report drew from the same files.")
    ] = True,
    full_slices: Annotated[
        Any,
        option(
            OUTPUT,
            "With --archive, slices of each series to write at full resolution and depth, too: "
            "all, those flagged, or the N that score highest.",
            metavar="all|flagged|N",
            parser=_full_slices,
        ),
    ] = "flagged",
    window: Annotated[
        list[Any] | None,
        option(
            OUTPUT,
            "Draw slices of a modality by another window rule than its detector's, such as "
            "CT=window:-1000,400; may be repeated.",
            metavar="MODALITY=RULE",
            parser=parse_window,
        ),
    ] = None,
    series: Annotated[bool, option(OUTPUT, "Add series.csv: a row per stack.", "--series")] = False,
    slices: Annotated[bool, option(OUTPUT, "Add slices.csv: a row per slice.", "--slices")] = False,
    regions: Annotated[
        bool,
        option(
            OUTPUT, "Add regions.csv: a row per region of the maps, with its size.", "--regions"
        ),
    ] = False,
    jsonl: Annotated[bool, option(OUTPUT, "Add the tables as JSON lines.", "--jsonl")] = False,
) -> None:
    """Write the worklist of results: tables, and a folder of pages to open in a browser."""
    from medscan import report
    from medscan import results as reader
    from medscan.cli.keys import pseudonyms_for
    from medscan.imaging import parse_rule

    windows = dict(window or ())
    for rule in windows.values():
        parse_rule(rule)
    files = [reader.open(path) for path in results]
    _tell_of_shards(files)
    options = report.ReportOptions(
        most=pictures,
        archives=tuple(archive or ()),
        old=reader.open(compare) if compare else None,
        workers=workers,
        keys=tuple(pseudonyms_for(file, key_file) for file in files) if archive else (None,),
        decisions=report.read_decisions(decisions, files) if decisions else None,
        keeps_slices=keep_slices,
        windows=windows,
        full=full_slices,
        link_template=link_template,
    )
    writers = {"csv": report.write_csv} | ({"jsonl": report.write_json_lines} if jsonl else {})
    folder = out or results[0].with_suffix(".report")
    pages = report.write_single if single_file else report.write_report
    with private_files(any(file.run().identify for file in files)):
        drawn, written = pages(files, folder, options), set()
        asked = {"results": True, "series": series, "slices": slices, "regions": regions}
        for table in (name for name, wanted in asked.items() if wanted):
            for kind, write in writers.items():
                written.add(folder / f"{table}.{kind}")
                write(files, folder / f"{table}.{kind}", table)
    report.remove_old_tables(folder, written)
    typer.echo(f"open {folder / 'index.html'}")
    if drawn.missing:
        wanted = drawn.studies + drawn.missing
        tell(f"{drawn.missing} of {wanted} studies are not in --archive, or have changed there")
    if damage := reader.damage_lines([*files, *([options.old] if options.old else [])]):
        tell("; ".join(damage))
    if drawn.missing or damage:
        raise typer.Exit(3)


def _tell_of_shards(files: list[Results]) -> None:
    """Name the shards that are missing: a worklist that lacks studies must not look complete."""
    from medscan.results import missing_shards

    missing = missing_shards(files)
    if missing and len(files) > 1:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        tell(f"not in this report: shards {', '.join(missing[:LISTED])}{more}")
