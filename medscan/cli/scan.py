"""`medscan scan`."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.choices import EngineName, Order, Precision, Rescan, Shard
from medscan.cli.logs import logging_to, progressing
from medscan.cli.options import (
    BUDGET,
    COMPUTE,
    INPUT,
    OUTPUT,
    PRIVACY,
    SIGNAL_EXITS,
    Archives,
    BatchSize,
    Detectors,
    Device,
    PlaneOption,
    PrecisionOption,
    Workers,
    clock_time,
    duration,
    gib,
    shard,
)

if TYPE_CHECKING:
    from medscan.detector import Detector
    from medscan.options import Outputs, ScanOptions
    from medscan.planning import FileEntry
    from medscan.scan import Engine, Summary


def scan(
    archive: Archives,
    detector: Detectors = None,
    target_fpr: Annotated[
        float | None,
        typer.Option(
            help="Recompute thresholds for this false-positive rate.", rich_help_panel=INPUT
        ),
    ] = None,
    plane: PlaneOption = None,
    only_shard: Annotated[
        Shard | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            parser=shard,
            help="Scan the I-th of N shards of the studies, from 1.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    settle: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=duration("--settle"),
            help="Skip studies with files modified within this time, such as 15m.",
            show_default="0",
            rich_help_panel=INPUT,
        ),
    ] = 0,
    paranoid: Annotated[
        bool,
        typer.Option(
            help="Compare files by content instead of size and modification time.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    file_timeout: Annotated[
        float,
        typer.Option(
            help="Seconds after which reading or decoding one file is cut off.",
            rich_help_panel=INPUT,
        ),
    ] = 120.0,
    max_file_gib: Annotated[
        int,
        typer.Option(
            metavar="GIB",
            parser=gib("--max-file-gib"),
            help="Largest size of one file, as stored, unpacked or decoded.",
            show_default="8",
            rich_help_panel=INPUT,
        ),
    ] = 8,
    out: Annotated[
        Path, typer.Option(help="Results file to write or add to.", rich_help_panel=OUTPUT)
    ] = Path("results.h5"),
    ledger: Annotated[
        Path | None,
        typer.Option(help="Ledger of what is done; default: beside --out.", rich_help_panel=OUTPUT),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="Secret key of the pseudonyms; default: beside --out.", rich_help_panel=OUTPUT
        ),
    ] = None,
    accounting: Annotated[
        Path | None,
        typer.Option(help="CSV file to write, with a row per file found.", rich_help_panel=OUTPUT),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option(
            help="Log file to append to, one JSON object per line.", rich_help_panel=OUTPUT
        ),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=duration("--prune"),
            help="Drop results whose files have been absent for this long.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Report where the time went, by stage.", rich_help_panel=OUTPUT
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print a machine-readable summary as JSON.", rich_help_panel=OUTPUT
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            help="Only report what would be scanned, and about how long it takes.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    until: Annotated[
        datetime.time | None,
        typer.Option(
            metavar="HH:MM",
            parser=clock_time,
            help="Start no study after this local time.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    max_studies: Annotated[
        int | None,
        typer.Option(min=1, help="Scan at most this many studies.", rich_help_panel=BUDGET),
    ] = None,
    order: Annotated[
        Order, typer.Option(help="Which studies to scan first.", rich_help_panel=BUDGET)
    ] = Order.PATH,
    rescan: Annotated[
        Rescan,
        typer.Option(
            help="Studies to scan again although their files have not changed.",
            rich_help_panel=BUDGET,
        ),
    ] = Rescan.NONE,
    device: Device = "auto",
    precision: PrecisionOption = Precision.FP32,
    batch_size: BatchSize = 0,
    workers: Workers = 1,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="Where to scan: on this machine, or on a Ray cluster.", rich_help_panel=COMPUTE
        ),
    ] = EngineName.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(
            help="Head of the Ray cluster, HOST:PORT; default: RAY_ADDRESS, or local.",
            rich_help_panel=COMPUTE,
        ),
    ] = None,
    identify: Annotated[
        bool,
        typer.Option(
            help="Write PatientID, descriptions and paths unchanged.", rich_help_panel=PRIVACY
        ),
    ] = False,
    hash_paths: Annotated[
        bool | None,
        typer.Option(
            help="Write hashes in place of names in paths; default: unless --identify.",
            rich_help_panel=PRIVACY,
        ),
    ] = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            help="Keep pictures of the highest-scoring slices for the report.",
            rich_help_panel=PRIVACY,
        ),
    ] = True,
    burned_in: Annotated[
        bool,
        typer.Option(
            "--burned-in",
            help="Also keep pictures that may have text burned into their pixels.",
            rich_help_panel=PRIVACY,
        ),
    ] = False,
) -> None:
    """Scan archives: score every slice, and write results.h5, .csv and .html."""
    from dataclasses import replace

    from medscan.options import Budget, Compute, Inputs, Outputs, Privacy, ScanOptions
    from medscan.scan import manifest_of

    share = f" --shard {only_shard}" if only_shard else ""
    options = ScanOptions(
        Inputs(
            roots=tuple(archive),
            detectors=tuple(detectors_of(detector, target_fpr)),
            named=bool(detector),
            plane=plane,
            shard=only_shard,
            settle_s=settle,
            paranoid=paranoid,
            file_timeout_s=file_timeout,
            max_file_bytes=max_file_gib,
        ),
        Outputs(
            out,
            ledger=ledger,
            key_file=key_file,
            accounting=accounting,
            log_file=log_file,
            prune_s=prune,
            command=f"medscan scan {'ARCHIVE ' * len(archive)}--out {out.name}{share}",
        ),
        Compute(device, precision, batch_size or None, workers),
        Privacy(identify, hash_paths, thumbnails, burned_in),
        Budget(until, max_studies, order, rescan),
    )
    chosen = _engine(engine, address, profile=profile)
    if dry_run:
        typer.echo(_dry_run(options, as_json=as_json))
        return
    with logging_to(log_file, replace(options.outputs, log_file=None).files):
        summary = scan_and_report(options, chosen)
    found = json.dumps(manifest_of(options.inputs, summary)) if as_json else summary.line()
    typer.echo(found)
    if profile and not as_json:
        typer.echo("\n".join(summary.profile.lines(summary.stages)))
    if summary.failure:
        typer.echo(f"medscan: {summary.failure}; {summary.left} studies are left over", err=True)
    raise typer.Exit(_exit_code(summary))


def _engine(name: EngineName, address: str | None, *, profile: bool) -> Engine:
    """What the studies are scanned on."""
    from medscan.cluster import RayEngine
    from medscan.errors import UsageError
    from medscan.scan import LocalEngine

    if name is EngineName.RAY:
        if profile:
            raise UsageError("--profile is of a scan on one machine, without --engine ray")
        return RayEngine(address)
    if address is not None:
        raise UsageError(f"--address {address} is of a Ray cluster: give --engine ray too")
    return LocalEngine()


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
    pairs = []
    for path in [detectors.find(p) for p in named] if named else detectors.shipped():
        detector = detectors.read(path)
        if target_fpr is not None:
            detector = replace(detector, calibration=detector.calibration.at(target_fpr))
        pairs.append((path, detector))
    return pairs


def scan_and_report(options: ScanOptions, engine: Engine | None = None) -> Summary:
    """Scan with a progress bar on a terminal, and write the worklist beside the results."""
    from medscan import report, results, scan

    def publish(out: Path, table: Path, page: Path) -> None:
        files = [results.open(out)]
        report.write_csv(files, table)
        report.write_html(files, page)

    with progressing() as watch:
        summary = scan.scan(options, watch, publish, engine)
    _account(options.outputs, summary.entries)
    return summary


def _account(outputs: Outputs, entries: list[FileEntry]) -> None:
    from medscan import report

    if outputs.accounting is not None:
        report.write_accounting(entries, outputs.accounting)


def _dry_run(options: ScanOptions, *, as_json: bool) -> str:
    from medscan.inspect import forecast_scan

    forecast = forecast_scan(options)
    _account(options.outputs, forecast.entries)
    return json.dumps(forecast.as_dict()) if as_json else forecast.text()
