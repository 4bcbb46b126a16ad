"""`medscan export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Target(StrEnum):
    """What can be exported."""

    nifti = "nifti"
    csv = "csv"


def export(
    results: Annotated[Path, typer.Argument(help="Results file.")],
    to: Annotated[Target, typer.Option(help="Format.")] = Target.nifti,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("export"),
) -> None:
    """Write anomaly maps on the grid of their source images, or a table of slices."""
    from medscan import export
    from medscan import results as reader

    written = export.EXPORTS[to.value](reader.open(results), out)
    typer.echo(f"{len(written)} files written to {out}")
