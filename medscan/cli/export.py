"""`medscan export`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medscan.export import Left


_NAMED = "; they name the patients, as their sources do"
_UNMASKED = "; sources are written as they are, with any text burned into their pixels"


class Target(StrEnum):
    """What can be exported: `medscan.export.FORMATS`, and detectors."""

    nifti = "nifti"
    dicom_pm = "dicom-pm"
    dicom_seg = "dicom-seg"
    dicom_sc = "dicom-sc"
    dicom_sr = "dicom-sr"
    png = "png"
    npz = "npz"
    csv = "csv"
    onnx = "onnx"


class GridName(StrEnum):
    """`medscan.export.Grid` again: importing that room would make `--help` slow."""

    source = "source"
    model = "model"


def export(
    results: Annotated[
        Path, typer.Argument(help="Results file; with --to onnx a detector, by file or name.")
    ],
    to: Annotated[Target, typer.Option(help="Format.")] = Target.nifti,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write into, default export; with --to onnx the file, default the "
            "detector's name."
        ),
    ] = None,
    archive: Annotated[
        list[Path] | None,
        typer.Option(help="Where the scanned files lie; needed for dicom-... and --with-source."),
    ] = None,
    grid: Annotated[
        GridName,
        typer.Option(help="Of nifti and dicom-pm: pixels of the source, or patches of the model."),
    ] = GridName.source,
    with_source: Annotated[
        bool, typer.Option("--with-source", help="Nifti: write the source beside its map.")
    ] = False,
    key_file: Annotated[
        Path | None, typer.Option(help="Key of the pseudonyms; default: beside the results.")
    ] = None,
) -> None:
    """Write results for other programs, or a detector for other runtimes."""
    from medscan import results as reader
    from medscan.cli.keys import pseudonyms_for
    from medscan.errors import UsageError
    from medscan.export import Grid, Job, Sources, exporter

    missing = next((root for root in archive or [] if not root.exists()), None)
    if missing is not None:
        raise UsageError(f"--archive {missing}: it does not exist")
    if to is Target.onnx:
        _onnx(results, out, archive or [])
        return
    identifies = to.value.startswith("dicom-")
    if (identifies or with_source) and not archive:
        raise UsageError(f"--to {to.value}: name the folder of the scanned files with --archive")
    found, folder = reader.open(results), out or Path("export")
    sources = Sources(archive, pseudonyms_for(found, key_file)) if archive else None
    job = Job(found, folder, sources, Grid(grid.value), with_source)
    written, left = _told(exporter(to.value)(job))
    warning = _NAMED if identifies else _UNMASKED if with_source else ""
    typer.echo(f"{written} files written to {folder}{warning if written else ''}")
    if left:
        raise typer.Exit(3)


def _told(found: Iterable[Path | Left]) -> tuple[int, int]:
    """Number of files written and of stacks left out; each of these is told in a line."""
    written = left = 0
    for one in found:
        if isinstance(one, Path):
            written += 1
        else:
            left += 1
            typer.echo(f"medscan: {one.what}: {one.why}", err=True)
    return written, left


def _onnx(name: Path, out: Path | None, archive: list[Path]) -> None:
    from medscan import detector
    from medscan.export.graph import export_onnx

    path = detector.find(name)
    told = export_onnx(path, out or Path(f"{path.stem}.onnx"), archive)
    typer.echo(told)
