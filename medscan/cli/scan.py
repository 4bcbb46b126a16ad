"""`medscan scan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.logs import logging_to, progressing
from medscan.cli.options import (
    SIGNAL_EXITS,
    Archives,
    BatchSize,
    Detectors,
    Device,
    EngineName,
    OrderName,
    PlaneOption,
    Precision,
    PrecisionOption,
    RescanName,
    Workers,
    batch,
    clock,
    gib,
    seconds,
    shard,
)

if TYPE_CHECKING:
    from medscan.detector import Detector
    from medscan.scan import Entry, ScanOptions, Summary


def scan(
    archive: Archives,
    out: Annotated[Path, typer.Option(help="Results file to write or add to.")] = Path(
        "results.h5"
    ),
    detector: Detectors = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.fp32,
    batch_size: BatchSize = "auto",
    workers: Workers = 1,
    plane: PlaneOption = None,
    ledger: Annotated[Path | None, typer.Option(help="Ledger; default: beside --out.")] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Secret key of the pseudonyms; default: beside --out.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Local time, HH:MM, from which on no study is begun.")
    ] = None,
    max_studies: Annotated[
        int | None, typer.Option(min=1, help="Scan no more studies than this.")
    ] = None,
    order: Annotated[OrderName, typer.Option(help="Which studies come first.")] = OrderName.path,
    rescan: Annotated[
        RescanName, typer.Option(help="What to scan again although its files have not changed.")
    ] = RescanName.none,
    paranoid: Annotated[
        bool, typer.Option(help="Read every file to see whether it has changed.")
    ] = False,
    prune: Annotated[
        str | None, typer.Option(help="Drop results whose files are absent for this long.")
    ] = None,
    target_fpr: Annotated[
        float | None, typer.Option(help="Place every threshold for this rate instead.")
    ] = None,
    settle: Annotated[
        str, typer.Option(help="Leave studies with a file younger than this, such as 15m.")
    ] = "0",
    file_timeout: Annotated[
        float, typer.Option(help="Seconds for reading or decoding one file; then it is cut off.")
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
    burned_in: Annotated[
        bool,
        typer.Option("--burned-in", help="Keep those too that may carry text in their pixels."),
    ] = False,
    identify: Annotated[
        bool, typer.Option(help="Write PatientID, descriptions and paths as they are.")
    ] = False,
    hash_paths: Annotated[
        bool | None,
        typer.Option(help="Write hashes in place of names in paths; default: not with --identify."),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option(help="File to append a JSON object a line to.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Scan the I-th of N shares of the studies, from 1."
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time went, stage by stage.")
    ] = False,
    engine: Annotated[
        EngineName, typer.Option(help="What to scan on: this machine, or a Ray cluster.")
    ] = EngineName.local,
    address: Annotated[
        str | None,
        typer.Option(help="Head of the Ray cluster, HOST:PORT; default: RAY_ADDRESS, or local."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Only say what would be scanned, and about how long it takes.")
    ] = False,
) -> None:
    """Scan archives: score every slice, write results.h5, .csv and .html."""
    from dataclasses import replace

    from medscan.archive import Plane
    from medscan.errors import UsageError
    from medscan.scan import Engine, Order, Rescan, ScanOptions
    from medscan.scan.manifest import manifest

    if profile and engine is EngineName.ray:
        raise UsageError("--profile is of a scan on one machine, without --engine ray")
    options = ScanOptions(
        roots=tuple(archive),
        out=out,
        detectors=tuple(detectors_of(detector, target_fpr)),
        named=bool(detector),
        device=device,
        precision=precision.value,
        batch_size=batch(batch_size),
        workers=workers,
        plane=Plane(plane.value) if plane else None,
        ledger=ledger,
        key_file=key_file,
        until=clock("--until", until),
        max_studies=max_studies,
        order=Order(order.value),
        rescan=Rescan(rescan.value),
        paranoid=paranoid,
        prune_s=None if prune is None else seconds("--prune", prune),
        file_timeout_s=file_timeout,
        max_file_bytes=gib("--max-file-gib", max_file_gib),
        settle_s=seconds("--settle", settle),
        accounting=accounting,
        thumbnails=thumbnails,
        burned_in=burned_in,
        identify=identify,
        hash_paths=hash_paths,
        log_file=log_file,
        shard=shard(share),
        engine=Engine(engine.value),
        address=address,
        command=f"medscan scan {'ARCHIVE ' * len(archive)}--out {out.name}{_share(share)}",
    )
    if dry_run:
        typer.echo(_dry_run(options, as_json=as_json))
        return
    with logging_to(log_file, replace(options, log_file=None).outputs):
        summary = scan_and_report(options)
    typer.echo(json.dumps(manifest(options, summary)) if as_json else summary.line())
    if profile and not as_json:
        typer.echo("\n".join(summary.profile.lines(summary.stages)))
    if summary.failure:
        typer.echo(f"medscan: {summary.failure}; {summary.left} studies are left over", err=True)
    raise typer.Exit(_exit_code(summary))


def _share(text: str | None) -> str:
    return f" --shard {text}" if text else ""


def _exit_code(summary: Summary) -> int:
    if summary.failure:
        return 1
    return SIGNAL_EXITS.get(summary.stopped) or (3 if summary.files.get("failed") else 0)


def detectors_of(named: list[Path] | None, target_fpr: float | None) -> list[tuple[Path, Detector]]:
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


def scan_and_report(options: ScanOptions) -> Summary:
    """Scan with a progress bar on a terminal, and write the worklist beside the results."""
    from medscan import report, results, scan

    def publish(out: Path, table: Path, page: Path) -> None:
        found = [results.open(out)]
        report.write_csv(found, table)
        report.write_html(found, page)

    with progressing() as watch:
        summary = scan.scan(options, watch, publish)
    _account(options, summary.entries)
    return summary


def _account(options: ScanOptions, entries: list[Entry]) -> None:
    from medscan import report

    if options.accounting is not None:
        report.write_accounting(entries, options.accounting)


def _dry_run(options: ScanOptions, *, as_json: bool) -> str:
    from medscan.scan import foresee

    forecast = foresee(options)
    _account(options, forecast.entries)
    return json.dumps(forecast.as_dict()) if as_json else forecast.text()
