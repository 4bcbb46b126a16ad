"""`medscan plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medscan.choices import Precision, RuntimeName
from medscan.cli.options import (
    INPUT,
    Archives,
    AsJson,
    BatchSize,
    Detectors,
    Device,
    Domain,
    LeaveOut,
    MaxFilePlanes,
    MaxStudyPlanes,
    MinSide,
    PlaneOption,
    PrecisionOption,
    RuntimeOption,
    Workers,
    key_option,
    option,
    stated_by,
)


def plan(
    archive: Archives,
    shards: Annotated[int, option(INPUT, "Number of shards.", min=1, max=999_999)],
    detector: Detectors = None,
    plane: PlaneOption = None,
    domain: Domain = None,
    leave_out: LeaveOut = None,
    max_file_planes: MaxFilePlanes = 65_536,
    max_study_planes: MaxStudyPlanes = 131_072,
    min_side: MinSide = 3,
    ledger: Annotated[
        Path | None, option(INPUT, "Ledger of a scan; headers recorded there are not read again.")
    ] = None,
    key_file: Annotated[Path | None, key_option(INPUT, "Key file that the scans will use.")] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    runtime: RuntimeOption = RuntimeName.AUTO,
    batch_size: BatchSize = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Show how an archive divides into shards, and about how long each takes."""
    from medscan.chosen import read_detectors
    from medscan.inspect import forecast_shards
    from medscan.options import Compute, Inputs, Outputs, ScanOptions

    compute = Compute(device, precision, batch_size, workers, runtime)
    detectors = read_detectors(detector, compute=compute)
    inputs = Inputs(
        tuple(archive),
        detectors,
        named=bool(detector),
        plane=plane,
        max_file_planes=max_file_planes,
        max_study_planes=max_study_planes,
        min_side=min_side,
        stated=stated_by(domain),
        left_out=tuple(leave_out or ()),
    )
    outputs = Outputs(Path("results.h5"), ledger=ledger, key_file=key_file)
    forecasts = forecast_shards(ScanOptions(inputs, outputs, compute), shards)
    typer.echo(json.dumps(forecasts.as_dict()) if as_json else forecasts.text())
