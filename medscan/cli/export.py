"""`medscan export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.choices import ExportFormat, Grid, SegType
from medscan.cli.logs import tell
from medscan.cli.options import INPUT, OUTPUT, KeyFile, archive_option, option
from medscan.errors import UsageError

if TYPE_CHECKING:
    from medscan.export import LeftOut

FORMAT = "Format"

_NAMED = "; they name the patients, as their sources do"
_LABELLED = "; they bear the names that BIDS data sets give their subjects"
_UNMASKED = "; sources are written as they are, with any text burned into their pixels"


def export(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results files, several read as one; with --to onnx a detector, by file or name."
        ),
    ],
    archive: Annotated[
        list[Path] | None, archive_option(", for dicom-..., bids and --with-source")
    ] = None,
    study: Annotated[
        list[str] | None,
        option(INPUT, "Only this study, by key or StudyInstanceUID; may be repeated."),
    ] = None,
    flagged: Annotated[bool, option(INPUT, "Only flagged studies.", "--flagged")] = False,
    key_file: KeyFile = None,
    to: Annotated[ExportFormat, option(FORMAT, "Format to write.")] = ExportFormat.NIFTI,
    grid: Annotated[
        Grid,
        option(
            FORMAT, "Grid of nifti and dicom-pm: pixels of the source, or patches of the model."
        ),
    ] = Grid.SOURCE,
    seg_type: Annotated[
        SegType,
        option(
            FORMAT, "Pixels of dicom-seg: above the threshold or not, or place on the colour scale."
        ),
    ] = SegType.BINARY,
    with_source: Annotated[
        bool, option(FORMAT, "With nifti: also write the source.", "--with-source")
    ] = False,
    out: Annotated[
        Path | None,
        option(
            OUTPUT,
            "Folder to write into; with --to onnx the file.",
            show_default="export; with --to onnx the detector's name",
        ),
    ] = None,
) -> None:
    """Write results for other programs, or a detector for other runtimes."""
    from medscan import results as reader
    from medscan.cli.keys import pseudonyms_for
    from medscan.export import ExportJob, exporter
    from medscan.reading import Sources

    if with_source and to is not ExportFormat.NIFTI:
        raise UsageError(f"--with-source: only --to nifti writes sources, not --to {to.value}")
    if to is ExportFormat.ONNX:
        _onnx(results, out, archive or [], chosen=flagged or bool(study))
        return
    identifies = to.value.startswith("dicom-")
    if (identifies or with_source) and not archive:
        raise UsageError(f"--to {to.value}: name the folder of the scanned files with --archive")
    folder, files = out or Path("export"), [reader.open(path) for path in results]
    if damage := reader.damage_lines(files):
        tell("; ".join(damage))
    chosen = reader.select_studies(files, study or (), flagged=flagged)
    if not any(file.keys() for file in chosen):
        typer.echo(f"nothing to write: {'no study is flagged' if flagged else 'no studies'}")
        raise typer.Exit(3 if damage else 0)
    sources = None
    if archive:
        names = reader.source_paths(chosen) if study or flagged else None
        sources = Sources(archive, [pseudonyms_for(file, key_file) for file in chosen], names)
    job = ExportJob(chosen, folder, sources, grid, with_source, seg_type)
    written, left = _count(exporter(to.value)(job))
    labelled = to is ExportFormat.BIDS and bool(archive)
    warning = _NAMED if identifies else _LABELLED if labelled else _UNMASKED if with_source else ""
    typer.echo(f"{written} files written to {folder}{warning if written else ''}")
    if left or damage:
        raise typer.Exit(3)


def _count(exported: Iterable[Path | LeftOut]) -> tuple[int, int]:
    """Count files written and stacks left out, and print a line for each of the latter."""
    written = left = 0
    for one in exported:
        if isinstance(one, Path):
            written += 1
        else:
            left += 1
            typer.echo(f"medscan: {one.what}: {one.why}", err=True)
    return written, left


def _onnx(names: list[Path], out: Path | None, archive: list[Path], *, chosen: bool) -> None:
    from medscan import detector
    from medscan.graph import export_onnx
    from medscan.outputs import keep_apart

    if len(names) > 1 or chosen:
        raise UsageError("--to onnx: name one detector, and no studies")
    path = detector.find(names[0])
    graph = out or Path(f"{path.stem}.onnx")
    keep_apart({"--out": graph}, [path, *archive])
    typer.echo(export_onnx(path, graph, archive))
