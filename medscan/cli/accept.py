"""`medscan accept`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from medscan.choices import Precision
from medscan.cli.logs import progressing
from medscan.cli.options import (
    INPUT,
    OUTPUT,
    AsJson,
    BatchSize,
    Device,
    PrecisionOption,
    Workers,
    existing,
    option,
)
from medscan.cli.studies import reading
from medscan.errors import UsageError

GOALS = "What the detector must reach"
CHOICE = "Another threshold"


def _wish(text: Any) -> Any:
    from medscan.acceptance import parse_wish

    return parse_wish(str(text))


def accept(
    detector: Annotated[
        Path, typer.Argument(help="Detector to test: file, or name of a shipped one.")
    ],
    archive: Annotated[
        list[Path],
        option(INPUT, "Folder with the studies; may be repeated.", parser=existing),
    ],
    labels: Annotated[
        Path,
        option(
            INPUT,
            "Table of studies that are normal or abnormal; of several splits, only test counts.",
            metavar="TABLE",
        ),
    ],
    normal: Annotated[
        list[str] | None,
        option(INPUT, "A label that means normal; may be repeated.", metavar="VALUE"),
    ] = None,
    abnormal: Annotated[
        list[str] | None,
        option(INPUT, "A label that means abnormal; may be repeated.", metavar="VALUE"),
    ] = None,
    prevalence: Annotated[
        float | None,
        option(INPUT, "Share of abnormal studies at this site, for PPV and NPV."),
    ] = None,
    min_sensitivity: Annotated[float, option(GOALS, "Least sensitivity that must be shown.")] = 0.8,
    min_specificity: Annotated[float, option(GOALS, "Least specificity that must be shown.")] = 0.8,
    confidence: Annotated[float, option(GOALS, "Confidence with which it must be shown.")] = 0.95,
    choose: Annotated[
        Any,
        option(
            CHOICE,
            "Choose a threshold that keeps this for patients to come: sensitivity=S, rate=R of "
            "normal studies flagged, or answers=R of either label wrong outside what is uncertain.",
            metavar="RULE=SHARE",
            parser=_wish,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        option(CHOICE, "Detector file to write with that threshold, if it is accepted."),
    ] = None,
    who: Annotated[
        str, option(OUTPUT, "Who is responsible for the test, to be recorded.", metavar="NAME")
    ] = "",
    out: Annotated[
        Path | None,
        option(
            OUTPUT,
            "Folder for the page, the JSON and the scan.",
            show_default="name of the detector, ending in .acceptance",
        ),
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: PrecisionOption = Precision.FP32,
    batch_size: BatchSize = None,
    workers: Workers = 1,
) -> None:
    """Test on labelled studies of this site whether a detector may be used here."""
    from medscan.acceptance import AcceptOptions, Goals, plain, write_acceptance, write_detector
    from medscan.acceptance import accept as run
    from medscan.bags import StudyOptions
    from medscan.detector import find
    from medscan.options import Compute
    from medscan.outputs import check_detector

    if write is not None:
        check_detector(write, [find(detector), labels, *archive], "--write")
        if choose is None:
            raise UsageError(f"--write {write}: a new file, for what --choose chooses")
    folder = out or Path(f"{detector.stem}.acceptance")
    options = AcceptOptions(
        detector=detector,
        studies=StudyOptions(archive, labels, normal or (), abnormal or ()),
        folder=folder,
        goals=Goals(min_sensitivity, min_specificity, confidence),
        prevalence=prevalence,
        wish=choose,
        who=who,
        compute=Compute(device, precision, batch_size, workers),
    )
    with reading() as watcher, progressing() as watch:
        found = run(options, watch, watcher)
    write_acceptance(found, folder)
    if as_json:
        typer.echo(json.dumps(plain(found)))
    else:
        typer.echo("\n".join([found.sentence, *found.lines, f"open {folder / 'index.html'}"]))
    if not found.accepted:
        raise typer.Exit(4)
    if write is not None:
        write_detector(found, options, write)
