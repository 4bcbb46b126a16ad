"""`medscan verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medscan.cli.logs import tell
from medscan.cli.options import SIGNAL_EXITS, Detectors, Device, PlaneName, Precision


def verify(
    results: Annotated[Path, typer.Argument(help="Results file.")],
    archive: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that was scanned; may be repeated. None: score nothing again."),
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="Studies to score again at most.")] = 8,
    tolerance: Annotated[
        float, typer.Option(help="Difference of scores that counts as none.")
    ] = 1e-3,
    detector: Detectors = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Key of the pseudonyms; default: beside the results.")
    ] = None,
    plane: Annotated[
        PlaneName | None, typer.Option(help="Plane to cut volume files in; default: as the scan.")
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        Precision | None, typer.Option(help="Of arithmetic; default: as the scan.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check that results are whole, add up and come out the same again."""
    from medscan.archive import Plane
    from medscan.cli.scan import detectors_of
    from medscan.errors import MedscanError, UsageError
    from medscan.report.text import printable
    from medscan.scan import ScanOptions
    from medscan.scan.verify import verify

    if missing := [root for root in archive or [] if not root.exists()]:
        raise UsageError(f"--archive {missing[0]} does not exist")
    if not 0 <= tolerance < 1:
        raise UsageError(f"--tolerance {tolerance:g}: a number from 0 to below 1")
    options = ScanOptions(
        roots=tuple(archive or ()),
        out=results,
        detectors=tuple(detectors_of(detector, None)),
        named=True,
        device=device,
        precision=precision.value if precision else "",
        plane=Plane(plane.value) if plane else None,
        key_file=key_file,
    )
    verdict = verify(options, sample, tolerance)
    if as_json:
        typer.echo(json.dumps(asdict(verdict)))
    else:
        for problem in verdict.problems:
            typer.echo(printable(problem))
        typer.echo(
            f"{verdict.studies} studies, {verdict.stacks} stacks, {verdict.slices} slices; "
            f"{verdict.rescored} studies scored again: scores differ by at most "
            f"{verdict.score_difference:.2g}, maps by {verdict.map_difference:.2g}"
        )
        if verdict.absent:
            typer.echo(f"{verdict.absent} studies are absent since an earlier scan")
    if verdict.stopped:
        tell(f"stopped by {verdict.stopped} before all were scored again")
        raise typer.Exit(SIGNAL_EXITS[verdict.stopped])
    if verdict.problems:
        raise MedscanError(f"{results}: {len(verdict.problems)} things are not as they should be")
