"""`medscan fit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from medscan.choices import Plane, Precision
from medscan.cli.options import Device, PrecisionOption

if TYPE_CHECKING:
    from medscan.detector import Detector
    from medscan.feedback import Learnt
    from medscan.fit import FitOptions
    from medscan.methods import Method


OWN = {"data", "out", "folds", "licence", "device", "precision",
       "from_", "add", "results", "archive", "key_file"}  # fmt: skip
"""What may be said with --from; the detector that is named decides all else."""


def fit(
    context: typer.Context,
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folder or CSV manifest of labelled images; several to learn zero-shot; with "
            "--from what that one was fitted on, if it is there."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Detector file to write.")] = Path(
        "detector.safetensors"
    ),
    shots: Annotated[
        int | None,
        typer.Option(help="Images of each label to fit on; default 16, zero-shot all."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="mvfa, madclip, medvmad, conrad, cocoop; patchcore (normals only), clip."
        ),
    ] = "mvfa",
    protocol: Annotated[
        str, typer.Option(help="clean (honest) or paper (as published, quirks included).")
    ] = "clean",
    backbone: Annotated[
        str, typer.Option(help="Name of a CLIP; see medscan weights list.")
    ] = "medscan-mini",
    organ: Annotated[str, typer.Option(help="What the images show, for the prompts.")] = "organ",
    zero_shot: Annotated[
        bool, typer.Option("--zero-shot", help="Learn from other organs than will be scanned.")
    ] = False,
    source_organ: Annotated[
        list[str] | None,
        typer.Option(help="What each data set shows, in their order; with --zero-shot."),
    ] = None,
    select: Annotated[
        str, typer.Option(help="Epoch to keep: last, or test (as published; --protocol paper).")
    ] = "last",
    modality: Annotated[str, typer.Option(help="Domain: DICOM modality, such as MR.")] = "",
    body_part: Annotated[str, typer.Option(help="Domain: body part, such as BRAIN.")] = "",
    sequence: Annotated[
        str, typer.Option(help="Domain: word of the series description, such as FLAIR.")
    ] = "",
    plane: Annotated[
        Plane | None, typer.Option(help="Domain, and the plane that volumes are cut in.")
    ] = None,
    window: Annotated[
        str,
        typer.Option(help="auto, voi, full, percentile:LOW,HIGH or window:LOW,HIGH."),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of the draw of shots and of training.")] = 0,
    folds: Annotated[
        int, typer.Option(help="Cross-validation folds of the calibration; 0: none.")
    ] = 4,
    target_fpr: Annotated[
        float, typer.Option(help="Share of normal slices that may be flagged.")
    ] = 0.05,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the method."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the data; kept in the detector.")] = "unknown",
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DETECTOR", help="Fit as this one was fitted; with --add verdicts."
        ),
    ] = None,
    add: Annotated[
        Path | None, typer.Option(help="CSV of a radiologist's verdicts on --results.")
    ] = None,
    results: Annotated[
        list[Path] | None, typer.Option(help="Results that were judged; may be repeated.")
    ] = None,
    archive: Annotated[
        list[Path] | None, typer.Option(help="Folder that they were scanned from; may be repeated.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Key of the pseudonyms; default: beside the results.")
    ] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.FP32,
) -> None:
    """Fit a detector on a few labelled images."""
    from medscan.clip import choose_device
    from medscan.detector import Domain
    from medscan.errors import UsageError
    from medscan.fit import FitOptions, fit

    if not out.parent.is_dir() or out.is_dir() or out.is_symlink():
        raise UsageError(f"--out {out}: its folder must exist and it must be a regular file")
    options = FitOptions(
        shots=shots,
        method=method,
        protocol=protocol,
        backbone=backbone,
        organ=organ,
        zero_shot=zero_shot,
        source_organs=tuple(source_organ or ()),
        domain=Domain(modality, body_part, sequence, plane.value if plane else ""),
        window=window,
        seed=seed,
        folds=folds,
        target_fpr=target_fpr,
        device=choose_device(device),
        precision=precision.value,
        licence=licence,
        settings=dict(_setting(text) for text in setting or []),
    )
    if from_ or add:
        _check_inherited(context)
        verdicts = _Verdicts(from_, add, tuple(results or ()), tuple(archive or ()), key_file)
        typer.echo(_learn(verdicts, data or [], options, out))
        return
    if results or archive or key_file:
        raise UsageError("--results, --archive and --key-file are only for --from and --add")
    detector, fitted = fit(data or [], options, _bar, _judge(select, data or [], options))
    typer.echo(_told(detector.save(out, fitted), out))


def _check_inherited(context: typer.Context) -> None:
    """Refuse options that the detector it is made of decides."""
    from medscan.errors import UsageError

    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        if source is not None and source.name == "COMMANDLINE" and param.name not in OWN:
            raise UsageError(f"{param.opts[0]}: with --from, the detector named decides that")


class _Verdicts(NamedTuple):
    """The options of a fit from another detector, as they were given."""

    parent: Path | None
    add: Path | None
    results: tuple[Path, ...]
    archive: tuple[Path, ...]
    key_file: Path | None


def _learn(asked: _Verdicts, data: list[Path], options: FitOptions, out: Path) -> str:
    """Fit a detector from another one and verdicts; what is said of it."""
    from medscan import detector
    from medscan import results as reader
    from medscan.cli.keys import pseudonyms_for
    from medscan.errors import UsageError
    from medscan.feedback import Verdicts, learn
    from medscan.report import read_decisions

    if not (asked.parent and asked.add and asked.results and asked.archive):
        raise UsageError("--from, --add, --results and --archive belong together: name all four")
    if missing := [root for root in asked.archive if not root.exists()]:
        raise UsageError(f"--archive {missing[0]} does not exist")
    if len(data) > 1:
        raise UsageError("with --from, name one data set: that which the detector was fitted on")
    path = detector.find(asked.parent)
    if out.exists() and out.samefile(path):
        raise UsageError(f"--out {out}: that would replace the detector that it is made of")
    parent = detector.read(path)
    files = [reader.open(path) for path in asked.results]
    decisions = read_decisions(asked.add, files)
    keys = [pseudonyms_for(file, asked.key_file) for file in files]
    verdicts = Verdicts(decisions, files, asked.archive, keys)
    made, fitted, learnt = learn(parent, verdicts, data[0] if data else None, options, _bar)
    return f"{_told(made.save(out, fitted), out)}\n{_told_of_verdicts(learnt, parent.name)}"


def _told_of_verdicts(learnt: Learnt, parent: str) -> str:
    added = ", ".join(f"{count} {label}" for label, count in learnt.added.items())
    text = f"slices added: {added}; shots of {parent} kept: {learnt.kept}"
    text += f", not there: {learnt.lost}" * bool(learnt.lost)
    if learnt.missed:
        text += f"; left out: {learnt.missed} abnormal, not flagged, without a slice named"
    if learnt.unused:
        text += f"; left out: {learnt.unused} not scored in its domain"
    return text


def _judge(select: str, data: list[Path], options: FitOptions) -> Callable[[Method], float] | None:
    """What chooses the epoch; None keeps the last."""
    from medscan.errors import UsageError
    from medscan.evaluate import judge_on_test

    if select == "last":
        return None
    if select != "test" or len(data) != 1 or options.zero_shot:
        raise UsageError(
            f"--select {select}: choose last, or test with one data set and without --zero-shot"
        )
    return judge_on_test(data[0], options)


def _setting(text: str) -> tuple[str, Any]:
    """`epochs=20` -> ("epochs", 20); values are read as JSON, else as words."""
    import json

    from medscan.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _bar(stage: str) -> Any:
    """A bar on a terminal, silence elsewhere."""
    from tqdm import tqdm

    state: dict[str, Any] = {}

    def told(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 1 or "bar" not in state:
            state["bar"] = tqdm(total=epochs, desc=stage, unit="epoch", disable=None, leave=False)
        bar = state["bar"]
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        bar.update(1)
        if epoch == epochs:
            bar.close()
            del state["bar"]

    return told


def _told(detector: Detector, out: Path) -> str:
    calibration = detector.calibration
    shots = ", ".join(f"{len(names)} {label}" for label, names in detector.shots.items() if names)
    text = f"{out}: {detector.method} on {detector.backbone}, shots: {shots or 'none'}; "
    if not calibration.normals:
        why = "no normals of two patients to spare, --zero-shot, --folds 0, or interrupted"
        return f"{text}not calibrated ({why}): it will flag nothing"
    text += (
        f"threshold {calibration.threshold:.3f} for {calibration.target_fpr:.0%} of normal slices "
        f"from {len(calibration.normals)} out-of-sample normals"
    )
    if calibration.provisional:
        text += " (provisional: too few normals for that rate)"
    return text
