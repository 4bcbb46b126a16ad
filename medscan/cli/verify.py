"""`medscan verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medscan.choices import Plane, Precision, RuntimeName
from medscan.cli.logs import tell
from medscan.cli.options import (
    COMPUTE,
    INPUT,
    SIGNAL_EXITS,
    AsJson,
    Detectors,
    Device,
    KeyFile,
    archive_option,
    option,
)
from medscan.errors import MedscanError, UsageError

CHECK = "What to check"


def verify(
    results: Annotated[Path, typer.Argument(help="Results file.")],
    archive: Annotated[list[Path] | None, archive_option(", to score some studies again")] = None,
    detector: Detectors = None,
    key_file: KeyFile = None,
    plane: Annotated[
        Plane | None, option(INPUT, "Plane to cut volume files in.", show_default="as in the scan")
    ] = None,
    sample: Annotated[int, option(CHECK, "Score at most this many studies again.", min=0)] = 8,
    tolerance: Annotated[float, option(CHECK, "Largest score difference treated as equal.")] = 1e-3,
    device: Device = "auto",
    precision: Annotated[
        Precision | None,
        option(COMPUTE, "Number format of weights and activations.", show_default="as in the scan"),
    ] = None,
    runtime: Annotated[
        RuntimeName | None,
        option(COMPUTE, "Library that computes the model.", show_default="as in the scan"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that results are complete and consistent; score some again with --archive."""
    from medscan.chosen import read_detectors
    from medscan.inspect import verification_lines, verify_results
    from medscan.options import Inputs, Outputs
    from medscan.text import printable

    if not 0 <= tolerance < 1:
        raise UsageError(f"--tolerance {tolerance:g}: a number from 0 to below 1")
    detectors = read_detectors(detector)
    verification = verify_results(
        Inputs(tuple(archive or ()), detectors, plane=plane),
        Outputs(results, key_file=key_file),
        sample,
        tolerance,
        device=device,
        precision=precision,
        runtime=runtime,
    )
    if as_json:
        typer.echo(json.dumps(asdict(verification)))
    else:
        typer.echo("\n".join(map(printable, verification_lines(verification))))
    if verification.stopped:
        tell(f"stopped by {verification.stopped} before all were scored again")
        raise typer.Exit(SIGNAL_EXITS[verification.stopped])
    if verification.problems:
        raise MedscanError(f"{results}: {len(verification.problems)} problems found")
