"""`medscan verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medscan.choices import Plane, Precision
from medscan.cli.logs import tell
from medscan.cli.options import SIGNAL_EXITS, Detectors, Device


def verify(
    results: Annotated[Path, typer.Argument(help="Results file.")],
    archive: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that was scanned; may be repeated. None: score nothing again."),
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Studies to score again at most.")] = 8,
    tolerance: Annotated[
        float, typer.Option(help="Largest score difference treated as equal.")
    ] = 1e-3,
    detector: Detectors = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Key of the pseudonyms; default: beside the results.")
    ] = None,
    plane: Annotated[
        Plane | None, typer.Option(help="Plane to cut volume files in; default: as the scan.")
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        Precision | None, typer.Option(help="Of arithmetic; default: as the scan.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check that results are whole, add up and come out the same again."""
    from medscan.cli.scan import detectors_of
    from medscan.errors import MedscanError, UsageError
    from medscan.inspect import verify_results
    from medscan.options import Inputs, Outputs
    from medscan.text import printable

    if missing := [root for root in archive or [] if not root.exists()]:
        raise UsageError(f"--archive {missing[0]} does not exist")
    if not 0 <= tolerance < 1:
        raise UsageError(f"--tolerance {tolerance:g}: a number from 0 to below 1")
    detectors = tuple(detectors_of(detector, None))
    verification = verify_results(
        Inputs(tuple(archive or ()), detectors, plane=plane),
        Outputs(results, key_file=key_file),
        sample,
        tolerance,
        device=device,
        precision=precision,
    )
    if as_json:
        typer.echo(json.dumps(asdict(verification)))
    else:
        for problem in verification.problems:
            typer.echo(printable(problem))
        typer.echo(
            f"{verification.studies} studies, {verification.stacks} stacks, "
            f"{verification.slices} slices; "
            f"{verification.rescored} studies scored again: scores differ by at most "
            f"{verification.score_difference:.2g}, maps by {verification.map_difference:.2g}"
        )
        if verification.absent:
            typer.echo(f"{verification.absent} studies are absent since an earlier scan")
    if verification.stopped:
        tell(f"stopped by {verification.stopped} before all were scored again")
        raise typer.Exit(SIGNAL_EXITS[verification.stopped])
    if verification.problems:
        raise MedscanError(f"{results}: {len(verification.problems)} problems found")
