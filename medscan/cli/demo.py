"""`medscan demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medscan.cli.logs import progressing, tell
from medscan.cli.options import OUTPUT, option
from medscan.errors import DiskError

SEED = 0
"""Of the head to generate."""


def demo(
    out: Annotated[Path, option(OUTPUT, "Folder to write to; created if missing.")] = Path(
        "medscan-demo"
    ),
) -> None:
    """Scan a generated head with a lesion, and sample images of pydicom and nibabel."""
    from medscan import demo as room
    from medscan.chosen import read_detectors
    from medscan.options import Compute, Inputs, Outputs, Privacy, ScanOptions
    from medscan.scanned import scan_and_report

    phantom = room.draw_head(SEED)
    try:
        out.mkdir(parents=True, exist_ok=True)
        roots = room.gather(out, phantom)
    except OSError as error:
        raise DiskError(f"{out} cannot be written to: {error.strerror}") from error
    options = ScanOptions(
        Inputs(roots, read_detectors(None, compute=Compute())),
        Outputs(out / "results.h5", command="medscan demo"),
        privacy=Privacy(hash_paths=False),  # public files: a newcomer wants to see which
    )
    with progressing() as watch:
        summary = scan_and_report(options, watch)
    typer.echo(summary.line())
    for problem in summary.problems:
        tell(problem)
    if summary.problems:
        raise typer.Exit(1)
    typer.echo(f"The generated head has one lesion: {phantom.where()}.")
    typer.echo(f"Open {options.outputs.out.with_suffix('.html')} in a browser.")
