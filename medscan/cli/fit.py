"""`medscan fit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medscan.cli.options import Device, PlaneName, Precision, PrecisionOption

if TYPE_CHECKING:
    from medscan.detector import Detector
    from medscan.fit import FitOptions
    from medscan.methods import Method


def fit(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folder or CSV manifest of labelled images; several to learn zero-shot."
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
        PlaneName | None, typer.Option(help="Domain, and the plane that volumes are cut in.")
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
    device: Device = "auto",
    precision: PrecisionOption = Precision.fp32,
) -> None:
    """Fit a detector on a few labelled images."""
    from medscan.clip.device import choose_device
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
    detector, fitted = fit(data or [], options, _bar, _judge(select, data or [], options))
    typer.echo(_told(detector.save(out, fitted), out))


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
