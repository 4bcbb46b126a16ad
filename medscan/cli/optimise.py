"""`medscan optimise`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medscan.cli.options import INPUT, OUTPUT, AsJson, option
from medscan.errors import UsageError
from medscan.text import printable

SEEN = "; it was fitted on these patients"


def optimise(
    detector: Annotated[Path, typer.Argument(help="Detector file, or name of a shipped one.")],
    data: Annotated[
        Path, option(INPUT, "Folder or CSV manifest of labelled images, also of other patients.")
    ],
    out: Annotated[Path, option(OUTPUT, "Detector file to write.")],
    slices: Annotated[int, option(INPUT, "About how many slices to score.", min=40)] = 400,
    split: Annotated[
        str,
        option(
            INPUT,
            "rest: patients the detector was not fitted on; train: all of the training split, "
            "where none are left.",
            autocompletion=lambda: ["rest", "train"],
        ),
    ] = "rest",
    as_json: AsJson = False,
) -> None:
    """Try a detector in faster number formats, for scans with --precision auto."""
    from medscan.optimise import optimise as run
    from medscan.outputs import check_detector, labelled

    check_detector(out, labelled(data))  # the detector itself may be replaced: it stays the same
    if split not in ("rest", "train"):
        raise UsageError(f"--split {printable(split, 80)}: choose rest or train")
    found = run(detector, data, out, slices, split)
    if as_json:
        told = [asdict(trial) | {"passed": trial.passed} for trial in found.trials]
        for trial_told in told:
            del trial_told["layers"]
        typer.echo(json.dumps({"detector": found.digest, "trials": told}))
        return
    for trial in found.trials:
        verdict = "passes" if trial.passed else f"does not pass: {'; '.join(trial.faults())}"
        pixels = "" if trial.pixel_auroc is None else f", of pixels {trial.pixel_auroc:+.4f}"
        gate = "" if trial.unlike is None else f"{trial.unlike} become like or unlike its shots, "
        typer.echo(
            f"{trial.precision} {verdict} ({trial.slices} slices: {trial.flags} flags change, "
            f"{gate}scores move by {trial.bias:+.4f} of their spread, rank correlation "
            f"{trial.spearman:.4f}, AUROC {trial.image_auroc:+.4f}{pixels})"
            f"{SEEN * trial.seen}"
        )
    typer.echo(f"{printable(str(out))}: {printable(found.name)}, hash {found.digest[:12]}")
