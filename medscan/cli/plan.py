"""`medscan plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medscan.choices import Precision
from medscan.cli.options import (
    INPUT,
    OUTPUT,
    Archives,
    BatchSize,
    Detectors,
    Device,
    PlaneOption,
    PrecisionOption,
    Workers,
)
from medscan.cli.scan import detectors_of


def plan(
    archive: Archives,
    shards: Annotated[
        int, typer.Option(min=1, max=999_999, help="Number of shards.", rich_help_panel=INPUT)
    ],
    detector: Detectors = None,
    plane: PlaneOption = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="Ledger of a scan: headers that it holds are not read again.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="Secret key of the pseudonyms that the scans will use.", rich_help_panel=INPUT
        ),
    ] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.FP32,
    batch_size: BatchSize = 0,
    workers: Workers = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the shards as JSON.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Show how an archive divides into shards, and about how long each takes; write nothing."""
    from medscan.inspect import forecast_shards
    from medscan.options import Compute, Inputs, Outputs

    detectors = tuple(detectors_of(detector, None))
    inputs = Inputs(tuple(archive), detectors, named=bool(detector), plane=plane)
    compute = Compute(device, precision, batch_size or None, workers)
    outputs = Outputs(Path("results.h5"), ledger=ledger, key_file=key_file)
    forecasts = forecast_shards(inputs, compute, outputs, shards)
    typer.echo(json.dumps(forecasts.as_dict()) if as_json else forecasts.text())
