"""`medscan plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medscan.cli.options import (
    Archives,
    BatchSize,
    Detectors,
    Device,
    PlaneOption,
    Precision,
    PrecisionOption,
    Workers,
    batch,
)
from medscan.cli.scan import detectors_of


def plan(
    archive: Archives,
    shards: Annotated[int, typer.Option(min=1, max=999_999, help="Shares of the studies.")],
    detector: Detectors = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.fp32,
    batch_size: BatchSize = "auto",
    workers: Workers = 1,
    plane: PlaneOption = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Ledger of a scan: files that it knows are not opened.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Secret key of the pseudonyms that the scans will use.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the shares as JSON.")] = False,
) -> None:
    """Say how an archive divides into shards, and about how long each takes; writes nothing."""
    from medscan.archive import Plane
    from medscan.scan import ScanOptions, divide

    options = ScanOptions(
        roots=tuple(archive),
        out=Path("results.h5"),
        detectors=tuple(detectors_of(detector, None)),
        named=bool(detector),
        device=device,
        precision=precision.value,
        batch_size=batch(batch_size),
        workers=workers,
        plane=Plane(plane.value) if plane else None,
        ledger=ledger,
        key_file=key_file,
    )
    shares = divide(options, shards)
    typer.echo(json.dumps(shares.as_dict()) if as_json else shares.text())
