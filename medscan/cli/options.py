"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class PlaneName(StrEnum):
    """`medscan.archive.Plane` again: importing that room would make `--help` slow."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


class Precision(StrEnum):
    """Of weights and activations."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Of weights and activations.")]
