"""`medscan export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.choices import ExportFormat, Grid, SegType

if TYPE_CHECKING:
    from medscan.export import Left


_NAMED = "; they name the patients, as their sources do"
_UNMASKED = "; sources are written as they are, with any text burned into their pixels"


def export(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results files, several read as one; with --to onnx a detector, by file or name."
        ),
    ],
    to: Annotated[ExportFormat, typer.Option(help="Format.")] = ExportFormat.NIFTI,
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
        Grid,
        typer.Option(help="Of nifti and dicom-pm: pixels of the source, or patches of the model."),
    ] = Grid.SOURCE,
    seg_type: Annotated[
        SegType,
        typer.Option(help="Of dicom-seg: regions above the threshold, or how far the map is."),
    ] = SegType.BINARY,
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
    from medscan.export import ExportJob, exporter
    from medscan.reading import Sources

    missing = next((root for root in archive or [] if not root.exists()), None)
    if missing is not None:
        raise UsageError(f"--archive {missing}: it does not exist")
    if to is ExportFormat.ONNX:
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
    job = ExportJob(found, folder, sources, grid, with_source, seg_type)
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
    from medscan.export import export_onnx

    if len(names) > 1 or chosen:
        raise UsageError("--to onnx: name one detector, and no studies")
    path = detector.find(names[0])
    told = export_onnx(path, out or Path(f"{path.stem}.onnx"), archive)
    typer.echo(told)
