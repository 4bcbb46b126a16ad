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


class SegTypeName(StrEnum):
    """`medscan.export.SegType` again."""

    binary = "binary"
    fractional = "fractional"


def export(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results files, several read as one; with --to onnx a detector, by file or name."
        ),
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
    seg_type: Annotated[
        SegTypeName,
        typer.Option(help="Of dicom-seg: regions above the threshold, or how far the map is."),
    ] = SegTypeName.binary,
    study: Annotated[
        list[str] | None,
        typer.Option(help="Only this study, by key or StudyInstanceUID; may be repeated."),
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only flagged studies.")] = False,
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
    from medscan.export import Grid, Job, SegType, exporter
    from medscan.scan.sources import Sources

    missing = next((root for root in archive or [] if not root.exists()), None)
    if missing is not None:
        raise UsageError(f"--archive {missing}: it does not exist")
    if to is Target.onnx:
        _onnx(results, out, archive or [], chosen=flagged or bool(study))
        return
    identifies = to.value.startswith("dicom-")
    if (identifies or with_source) and not archive:
        raise UsageError(f"--to {to.value}: name the folder of the scanned files with --archive")
    folder, files = out or Path("export"), [reader.open(path) for path in results]
    found = reader.selected(files, study or (), flagged=flagged)
    if not any(file.keys() for file in found):
        typer.echo(f"nothing to write: {'no study is flagged' if flagged else 'no studies'}")
        return
    sources = None
    if archive:
        names = reader.paths(found) if study or flagged else None
        sources = Sources(archive, [pseudonyms_for(file, key_file) for file in found], names)
    job = Job(found, folder, sources, Grid(grid.value), with_source, SegType(seg_type.value))
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


def _onnx(names: list[Path], out: Path | None, archive: list[Path], *, chosen: bool) -> None:
    from medscan import detector
    from medscan.errors import UsageError
    from medscan.export.graph import export_onnx

    if len(names) > 1 or chosen:
        raise UsageError("--to onnx: name one detector, and no studies")
    path = detector.find(names[0])
    told = export_onnx(path, out or Path(f"{path.stem}.onnx"), archive)
    typer.echo(told)
