"""`medscan fit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medscan.choices import METHODS, MOST_TILES, Age, FitPrecision, Plane
from medscan.cli.options import INPUT, Device, FitPrecisionOption, option, setting
from medscan.cli.studies import Abnormal, LabelledArchives, LabelTable, Normal, reading
from medscan.cli.training import (
    CALIBRATION,
    NEW,
    DetectorFile,
    Folds,
    Licence,
    watching,
)
from medscan.errors import UsageError

if TYPE_CHECKING:
    from medscan.fitting import FitOptions
    from medscan.methods import Method

METHOD = "Method"
DOMAIN = "Domain: the images that the detector is for"


def fit(
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Folder or CSV manifest of labelled images; several with --zero-shot."),
    ] = None,
    archive: LabelledArchives = None,
    labels: LabelTable = None,
    normal: Normal = None,
    abnormal: Abnormal = None,
    shots: Annotated[
        int | None,
        option(
            INPUT,
            "Images of each label to fit on; with --labels, studies.",
            show_default="16; with --zero-shot all; with --labels up to 64",
        ),
    ] = None,
    organ: Annotated[str, option(INPUT, "What the images show, as a word for prompts.")] = "organ",
    source_organ: Annotated[
        list[str] | None,
        option(
            INPUT, "With --zero-shot: what each data set shows, in their order; may be repeated."
        ),
    ] = None,
    window: Annotated[
        str, option(INPUT, "Grey levels: auto, voi, full, percentile:LOW,HIGH or window:LOW,HIGH.")
    ] = "auto",
    licence: Licence = "unknown",
    method: Annotated[
        str,
        option(
            METHOD,
            f"{', '.join(METHODS[:-1])} or {METHODS[-1]}.",
            metavar="NAME",
            autocompletion=lambda: list(METHODS),
        ),
    ] = "discriminant",
    protocol: Annotated[
        str,
        option(
            METHOD,
            "clean, or paper: as published, quirks included.",
            autocompletion=lambda: ["clean", "paper"],
        ),
    ] = "clean",
    backbone: Annotated[
        str, option(METHOD, "Backbone to fit on; see `medscan weights list`.", metavar="NAME")
    ] = "medscan-mini",
    size: Annotated[
        int | None,
        option(
            METHOD,
            "Side of the backbone's input in pixels: a multiple of its patches.",
            min=1,
            show_default="the backbone's own; that of --protocol paper",
        ),
    ] = None,
    tiles: Annotated[
        int | None,
        option(
            METHOD,
            "Tiles along a side, in which images larger than the backbone's input are seen.",
            min=1,
            max=MOST_TILES,
            show_default="1: none",
        ),
    ] = None,
    zero_shot: Annotated[
        bool,
        option(METHOD, "Learn from data sets of other organs than the one to scan.", "--zero-shot"),
    ] = False,
    select: Annotated[
        str,
        option(
            METHOD,
            "Epoch to keep: last, or test: best on the test split, with --protocol paper.",
            autocompletion=lambda: ["last", "test"],
        ),
    ] = "last",
    seed: Annotated[int, option(METHOD, "Seed for drawing shots and training.")] = 0,
    settings: Annotated[
        list[Any] | None,
        option(
            METHOD,
            "Change a setting of the method; may be repeated.",
            "--set",
            metavar="NAME=VALUE",
            parser=setting,
        ),
    ] = None,
    modality: Annotated[str, option(DOMAIN, "DICOM modality, such as MR.")] = "",
    body_part: Annotated[str, option(DOMAIN, "DICOM body part, such as BRAIN.")] = "",
    sequence: Annotated[str, option(DOMAIN, "Word in the series description, such as FLAIR.")] = "",
    plane: Annotated[
        Plane | None, option(DOMAIN, "Plane of the slices, also to cut volumes in.")
    ] = None,
    age: Annotated[
        Age | None, option(DOMAIN, "Patients: adults, from 18 years, or children.")
    ] = None,
    folds: Folds = 4,
    target_fpr: Annotated[
        float, option(CALIBRATION, "Share of normal slices that may be flagged.")
    ] = 0.05,
    device: Device = "auto",
    precision: FitPrecisionOption = FitPrecision.FP32,
    out: DetectorFile = NEW,
) -> None:
    """Fit a detector on a few labelled images."""
    from medscan.bags import fit_studies, studies_of
    from medscan.clip import choose_device
    from medscan.detector import Domain
    from medscan.fitting import FitOptions, detector_line, fit
    from medscan.outputs import check_detector, labelled

    folders = data or []
    check_detector(out, [*labelled(*folders), *(archive or ()), labels])
    studies = studies_of(folders, archive or (), labels, normal or (), abnormal or ())
    options = FitOptions(
        shots=shots,
        method=method,
        protocol=protocol,
        backbone=backbone,
        organ=organ,
        zero_shot=zero_shot,
        source_organs=tuple(source_organ or ()),
        size=size,
        tiles=tiles,
        domain=Domain(
            modality, body_part, sequence, plane.value if plane else "", age.value if age else ""
        ),
        window=window,
        seed=seed,
        folds=folds,
        target_fpr=target_fpr,
        device=choose_device(device),
        precision=precision.value,
        licence=licence,
        settings=dict(settings or ()),
    )
    judge = _judge(select, folders, options)
    with watching() as told:
        if studies is None:
            detector, fitted = fit(folders, options, told, judge)
        else:
            with reading() as watcher:
                detector, fitted = fit_studies(studies, options, told, watcher)
    typer.echo(f"{out}: {detector_line(detector.save(out, fitted))}")


def _judge(select: str, data: list[Path], options: FitOptions) -> Callable[[Method], float] | None:
    """Return what rates an epoch; None keeps the last one."""
    from medscan.evaluate import judge_on_test

    if select == "last":
        return None
    if select != "test" or len(data) != 1 or options.zero_shot:
        raise UsageError(
            f"--select {select}: choose last, or test with one data set and without --zero-shot"
        )
    return judge_on_test(data[0], options)
