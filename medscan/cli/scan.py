"""`medscan scan`."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.choices import EngineName, Order, Precision, Rescan, RuntimeName, Shard
from medscan.cli.command import recorded_command
from medscan.cli.logs import logging_to, progressing, tell
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
    Domain,
    LeaveOut,
    LinkTemplate,
    MaxFilePlanes,
    MaxStudyPlanes,
    MinSide,
    PlaneOption,
    PrecisionOption,
    RuntimeOption,
    Workers,
    clock_time,
    duration,
    gib,
    key_option,
    option,
    shard,
    stated_by,
)
from medscan.errors import UsageError
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.options import ScanOptions
    from medscan.scanning import Engine


def scan(
    context: typer.Context,
    archive: Archives,
    detector: Detectors = None,
    drop_detector: Annotated[
        list[str] | None,
        option(
            INPUT,
            "Drop earlier scores of the detector of this name; may be repeated.",
            metavar="NAME",
        ),
    ] = None,
    target_fpr: Annotated[
        float | None, option(INPUT, "Recompute thresholds for this false-positive rate.")
    ] = None,
    plane: PlaneOption = None,
    domain: Domain = None,
    leave_out: LeaveOut = None,
    only_shard: Annotated[
        Shard | None,
        option(
            INPUT,
            "Scan the I-th of N shards of the studies, from 1.",
            "--shard",
            metavar="I/N",
            parser=shard,
        ),
    ] = None,
    settle: Annotated[
        float,
        option(
            INPUT,
            "Skip studies with files modified within this time, such as 15m.",
            metavar="TIME",
            parser=duration("--settle"),
        ),
    ] = 0,
    every: Annotated[
        float | None,
        option(
            INPUT,
            "Score slices up to this far apart, and more only beside the highest.",
            metavar="MM",
        ),
    ] = None,
    paranoid: Annotated[
        bool, option(INPUT, "Compare files by content instead of size and modification time.")
    ] = False,
    file_timeout: Annotated[
        float, option(INPUT, "Seconds after which reading or decoding one file is cut off.")
    ] = 120.0,
    max_file_gib: Annotated[
        int,
        option(
            INPUT,
            "Largest size of one file, as stored, unpacked or decoded.",
            metavar="GIB",
            parser=gib("--max-file-gib"),
        ),
    ] = 8,
    max_file_planes: MaxFilePlanes = 65_536,
    max_study_planes: MaxStudyPlanes = 131_072,
    min_side: MinSide = 3,
    out: Annotated[Path, option(OUTPUT, "Results file to write or add to.")] = Path("results.h5"),
    ledger: Annotated[
        Path | None, option(OUTPUT, "Ledger of the studies done.", show_default="beside --out")
    ] = None,
    key_file: Annotated[
        Path | None,
        key_option(OUTPUT, "Secret key that pseudonyms are made with; created if missing."),
    ] = None,
    accounting: Annotated[
        Path | None, option(OUTPUT, "CSV file to write, with one row per file found.")
    ] = None,
    log_file: Annotated[
        Path | None, option(OUTPUT, "Log file to append to, one JSON object per line.")
    ] = None,
    history: Annotated[
        Path | None,
        option(OUTPUT, "History of the site to add to, for `medscan monitor`."),
    ] = None,
    link_template: LinkTemplate = None,
    prune: Annotated[
        float | None,
        option(
            OUTPUT,
            "Drop results whose files have been absent for this long.",
            metavar="TIME",
            parser=duration("--prune"),
        ),
    ] = None,
    profile: Annotated[
        bool, option(OUTPUT, "Report where the time went, by stage.", "--profile")
    ] = False,
    as_json: Annotated[
        bool, option(OUTPUT, "Print a machine-readable summary as JSON.", "--json")
    ] = False,
    strict: Annotated[
        bool, option(OUTPUT, "Exit with 3 while any file fails, also an old one.", "--strict")
    ] = False,
    dry_run: Annotated[
        bool, option(OUTPUT, "Only report what would be scanned, and about how long it takes.")
    ] = False,
    explain: Annotated[
        str | None,
        option(
            OUTPUT,
            "Only say which detector this study or file goes to, and why.",
            metavar="STUDY|PATH",
        ),
    ] = None,
    until: Annotated[
        datetime.time | None,
        option(BUDGET, "Start no study after this local time.", metavar="HH:MM", parser=clock_time),
    ] = None,
    max_studies: Annotated[
        int | None, option(BUDGET, "Scan at most this many studies.", min=1)
    ] = None,
    order: Annotated[Order, option(BUDGET, "Which studies to scan first.")] = Order.PATH,
    rescan: Annotated[
        Rescan, option(BUDGET, "Studies to scan again although their files have not changed.")
    ] = Rescan.NONE,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    runtime: RuntimeOption = RuntimeName.AUTO,
    batch_size: BatchSize = None,
    workers: Workers = 1,
    engine: Annotated[
        EngineName, option(COMPUTE, "Where to scan: on this machine, or on a Ray cluster.")
    ] = EngineName.LOCAL,
    address: Annotated[
        str | None,
        option(
            COMPUTE,
            "Head node of the Ray cluster.",
            metavar="HOST:PORT",
            show_default="RAY_ADDRESS, or a cluster of this machine",
        ),
    ] = None,
    identify: Annotated[
        bool, option(PRIVACY, "Write PatientID, AccessionNumber, descriptions and paths unchanged.")
    ] = False,
    hash_paths: Annotated[
        bool | None,
        option(
            PRIVACY,
            "Write hashes in place of names in paths.",
            show_default="--hash-paths, unless --identify",
        ),
    ] = None,
    thumbnails: Annotated[
        bool, option(PRIVACY, "Keep pictures of the highest-scoring slices for the report.")
    ] = True,
    burned_in: Annotated[
        bool,
        option(
            PRIVACY,
            "Also keep pictures that may have text burned into their pixels.",
            "--burned-in",
        ),
    ] = False,
) -> None:
    """Score every slice of an archive; write results.h5, .csv and .html."""
    from medscan.chosen import read_detectors
    from medscan.options import (
        Budget,
        Compute,
        Inputs,
        Outputs,
        Privacy,
        ScanOptions,
    )
    from medscan.scanned import scan_and_report
    from medscan.scanning import manifest_of

    compute = Compute(device, precision, batch_size, workers, runtime)
    options = ScanOptions(
        Inputs(
            roots=tuple(archive),
            detectors=read_detectors(detector, target_fpr, compute),
            named=bool(detector),
            dropped_detectors=tuple(drop_detector or ()),
            plane=plane,
            shard=only_shard,
            settle_s=settle,
            every_mm=every,
            paranoid=paranoid,
            file_timeout_s=file_timeout,
            max_file_bytes=max_file_gib,
            max_file_planes=max_file_planes,
            max_study_planes=max_study_planes,
            min_side=min_side,
            stated=stated_by(domain),
            left_out=tuple(leave_out or ()),
        ),
        Outputs(
            out,
            ledger=ledger,
            key_file=key_file,
            accounting=accounting,
            log_file=log_file,
            history=history,
            prune_s=prune,
            link_template=link_template,
            command=recorded_command(context),
        ),
        compute,
        Privacy(identify, hash_paths, thumbnails, burned_in),
        Budget(until, max_studies, order, rescan),
    )
    chosen = _engine(engine, address, profile=profile)
    if dry_run or explain is not None:
        asked = _explained(options, explain, as_json=as_json) if explain is not None else ""
        typer.echo(asked or _dry_run(options, as_json=as_json))
        return
    options.outputs.check()  # before the log is opened, which may be one of them
    with logging_to(log_file), progressing() as watch:
        summary = scan_and_report(options, watch, chosen)
    faults = summary.faults(strict=strict)
    for fault in faults:  # first: they are told once, and standard output may be full
        tell(fault)
    typer.echo(json.dumps(manifest_of(options.inputs, summary)) if as_json else summary.line())
    if profile and not as_json:
        typer.echo("\n".join(summary.profile.lines(summary.stages)))
    code = 1 if summary.problems else 3 if faults else 0
    raise typer.Exit(code if code == 1 else SIGNAL_EXITS.get(summary.stopped, code))


def _engine(name: EngineName, address: str | None, *, profile: bool) -> Engine:
    """Return the engine that scans the studies."""
    from medscan.cluster import RayEngine
    from medscan.scanning import LocalEngine

    if name is EngineName.RAY:
        if profile:
            raise UsageError("--profile is of a scan on one machine, without --engine ray")
        return RayEngine(address)
    if address is not None:
        raise UsageError(f"--address {printable(address, 80)}: give --engine ray too")
    return LocalEngine()


def _explained(options: ScanOptions, name: str, *, as_json: bool) -> str:
    from medscan.inspect import explain, explanation_lines

    explained = explain(options, name)
    return json.dumps(explained) if as_json else "\n".join(explanation_lines(explained))


def _dry_run(options: ScanOptions, *, as_json: bool) -> str:
    from medscan.inspect import forecast_scan
    from medscan.scanned import account

    forecast = forecast_scan(options)
    account(options.outputs, forecast.entries)
    return json.dumps(forecast.as_dict()) if as_json else forecast.text()
