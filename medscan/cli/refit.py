"""`medscan refit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.choices import FitPrecision
from medscan.cli.options import INPUT, Device, FitPrecisionOption, KeyFile, archive_option, option
from medscan.cli.training import NEW, DetectorFile, Folds, Licence, watching

if TYPE_CHECKING:
    from medscan.detector import Detector
    from medscan.feedback import JudgedResults, RefitSummary


def refit(
    parent: Annotated[
        Path, typer.Argument(help="Detector to start from: file, or name of a shipped one.")
    ],
    decisions: Annotated[
        Path, typer.Argument(help="CSV of a radiologist's verdicts, as the report saves it.")
    ],
    results: Annotated[list[Path], option(INPUT, "Results file that was judged; may be repeated.")],
    archive: Annotated[list[Path], archive_option()],
    data: Annotated[
        Path | None, option(INPUT, "Data set that the parent was fitted on, to keep its shots.")
    ] = None,
    key_file: KeyFile = None,
    licence: Licence = "unknown",
    folds: Folds = 4,
    device: Device = "auto",
    precision: FitPrecisionOption = FitPrecision.FP32,
    out: DetectorFile = NEW,
) -> None:
    """Make a new detector from one and a radiologist's verdicts on its results."""
    from medscan import detector
    from medscan.clip import choose_device
    from medscan.feedback import learn
    from medscan.fitting import FitOptions, detector_line
    from medscan.outputs import check_detector, labelled

    path = detector.find(parent)
    read = [path, decisions, *results, *archive, *labelled(data), key_file]
    check_detector(out, read)
    options = FitOptions(
        folds=folds, device=choose_device(device), precision=precision.value, licence=licence
    )
    ancestor = detector.read(path)
    verdicts = _verdicts(decisions, results, archive, key_file)
    with watching() as told:
        made, method, learnt = learn(ancestor, verdicts, data, options, told)
    typer.echo(f"{out}: {detector_line(made.save(out, method))}")
    typer.echo(_sources_of(learnt, ancestor))


def _verdicts(
    decisions: Path, results: list[Path], archive: list[Path], key_file: Path | None
) -> JudgedResults:
    """Read the verdicts and the results that they judge."""
    from medscan import results as reader
    from medscan.cli.keys import pseudonyms_for
    from medscan.feedback import JudgedResults
    from medscan.report import read_decisions

    files = [reader.open(path) for path in results]
    judged = read_decisions(decisions, files)
    return JudgedResults(judged, files, archive, [pseudonyms_for(file, key_file) for file in files])


def _sources_of(learnt: RefitSummary, parent: Detector) -> str:
    """Say in a line where the shots are from, and which verdicts gave none."""
    added = ", ".join(f"{count} {label}" for label, count in learnt.added.items())
    text = f"slices added: {added}; shots of {parent.name} kept: {learnt.kept}"
    if learnt.lost:
        text += f", not there: {learnt.lost}"
    if learnt.missed:
        text += f"; left out: {learnt.missed} abnormal, not flagged, without a slice named"
    if learnt.unused:
        text += f"; left out: {learnt.unused} not scored in its domain"
    return text
