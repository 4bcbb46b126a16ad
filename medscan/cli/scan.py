"""`medscan scan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.options import Device, PlaneName, Precision, PrecisionOption, gib, seconds

if TYPE_CHECKING:
    from medscan.detector import Detector
    from medscan.scan import Entry, ScanOptions, Summary


def scan(
    archive: Annotated[list[Path], typer.Argument(help="Folders or files to scan.")],
    out: Annotated[Path, typer.Option(help="Results file to write or add to.")] = Path(
        "results.h5"
    ),
    detector: Annotated[
        list[Path] | None,
        typer.Option(help="Detector file, or name of a shipped one; may be repeated."),
    ] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.fp32,
    batch_size: Annotated[str, typer.Option(help="Slices a batch, or auto.")] = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Decode processes; 0: in this one, without protection.")
    ] = 1,
    plane: Annotated[
        PlaneName | None, typer.Option(help="Plane that volume files are cut in.")
    ] = None,
    ledger: Annotated[Path | None, typer.Option(help="Ledger; default: beside --out.")] = None,
    target_fpr: Annotated[
        float | None, typer.Option(help="Place every threshold for this rate instead.")
    ] = None,
    settle: Annotated[
        str, typer.Option(help="Leave studies with a file younger than this, such as 15m.")
    ] = "0",
    file_timeout: Annotated[
        float, typer.Option(help="Seconds for decoding one file; then its decoder is cut off.")
    ] = 120.0,
    max_file_gib: Annotated[
        float, typer.Option(help="GiB that one file may be, unpack to or be decoded to.")
    ] = 8.0,
    accounting: Annotated[
        Path | None, typer.Option(help="CSV file to write, with a row a file found.")
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option(help="Keep pictures of the worst slices for the report.")
    ] = True,
    identify: Annotated[
        bool, typer.Option(help="Write PatientID and descriptions into the results.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Only say what would be scanned, and about how long it takes.")
    ] = False,
) -> None:
    """Scan archives: score every slice, write results.h5, .csv and .html."""
    from medscan.archive import Plane
    from medscan.errors import UsageError
    from medscan.scan import ScanOptions

    if batch_size != "auto" and not (batch_size.isdigit() and int(batch_size)):
        raise UsageError(f"--batch-size {batch_size}: a whole number above 0, or auto")
    options = ScanOptions(
        roots=tuple(archive),
        out=out,
        detectors=tuple(_detectors(detector, target_fpr)),
        named=bool(detector),
        device=device,
        precision=precision.value,
        batch_size=None if batch_size == "auto" else int(batch_size),
        workers=workers,
        plane=Plane(plane.value) if plane else None,
        ledger=ledger,
        file_timeout_s=file_timeout,
        max_file_bytes=gib("--max-file-gib", max_file_gib),
        settle_s=seconds("--settle", settle),
        accounting=accounting,
        thumbnails=thumbnails,
        identify=identify,
        command=f"medscan scan {' '.join(path.name for path in archive)} --out {out.name}",
    )
    if dry_run:
        typer.echo(_dry_run(options, as_json=as_json))
        return
    summary = _scan(options)
    typer.echo(json.dumps(summary.as_dict()) if as_json else summary.line())
    raise typer.Exit(_exit_code(summary))


def _exit_code(summary: Summary) -> int:
    stopped = {"SIGINT": 130, "SIGTERM": 143}
    return stopped.get(summary.stopped) or (3 if summary.files.get("failed") else 0)


def _detectors(named: list[Path] | None, target_fpr: float | None) -> list[tuple[Path, Detector]]:
    """The detectors named, else all that are shipped or in $MEDSCAN_WEIGHTS."""
    from dataclasses import replace

    from medscan import detector as detectors
    from medscan.errors import UsageError

    if target_fpr is not None and not 0 < target_fpr < 1:
        raise UsageError("--target-fpr must lie between 0 and 1")
    found = []
    for path in [detectors.find(p) for p in named] if named else detectors.shipped():
        read = detectors.read(path)
        if target_fpr is not None:
            read = replace(read, calibration=read.calibration.at(target_fpr))
        found.append((path, read))
    return found


def _scan(options: ScanOptions) -> Summary:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from medscan import report, results, scan

    console = Console(stderr=True)
    columns = ("{task.description}", "{task.fields[slices]} slices")
    with Progress(
        TextColumn(columns[0]),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(columns[1]),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("studies", total=None, slices=0)

        def watch(done: int, studies: int, slices: int) -> None:
            progress.update(bar, completed=done, total=studies, slices=slices)

        summary = scan.scan(options, watch)
    table, page = options.out.with_suffix(".csv"), options.out.with_suffix(".html")
    if options.out.exists() and not (_newer(table, options.out) and _newer(page, options.out)):
        found = [results.open(options.out)]
        report.write_csv(found, table)
        report.write_html(found, page)
    _account(options, summary.entries)
    return summary


def _account(options: ScanOptions, entries: list[Entry]) -> None:
    from medscan import report

    if options.accounting is not None:
        report.write_accounting(entries, options.accounting)


def _newer(path: Path, than: Path) -> bool:
    return path.exists() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns


def _dry_run(options: ScanOptions, *, as_json: bool) -> str:
    from medscan.scan import foresee

    forecast = foresee(options)
    _account(options, forecast.entries)
    return json.dumps(forecast.as_dict()) if as_json else forecast.text()
