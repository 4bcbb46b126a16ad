"""How far the shots of a detector reach."""

from __future__ import annotations

import torch
from torch import Tensor

from medscan.fitting.calibrate import patient_folds
from medscan.gate import SHARE, Gate, spanned
from medscan.methods import Method
from medscan.normals import conformal_threshold
from medscan.parts import Distance
from medscan.shots import Shots

FOLDS = 20
"""Parts of the patients that are left out in turn: with many, distances are nearly final."""


@torch.no_grad()
def set_gate(method: Method, prepared: Tensor, shots: Shots, seed: int) -> Gate | None:
    """Give a method that has been fitted its gate, and return what a detector records of it.

    Distances are from all shots, normal and abnormal: a lesion is nothing unlike them. The limit
    is that of normal shots from those of other patients.

    Parameters
    ----------
    method : Method
    prepared : Tensor (I, ...)
        Output of `Method.prepare` for the shots.
    shots : Shots
    seed : int
        Of the split.

    Returns
    -------
    Gate or None
        None if all normals are of one patient, or no shot is left without them.
    """
    outlines = torch.cat([method.outline(one[None].to(method.backbone.device)) for one in prepared])
    outlines = outlines.cpu()
    folds = patient_folds(shots.labels, shots.patients, FOLDS, seed)
    counted = shots.labels == 0 if shots.typical is None else (shots.labels == 0) & shots.typical
    normals: list[float] = []
    for fold in folds:
        normals += Distance.of(outlines[~fold])(outlines[fold & counted]).tolist()
    if not normals:
        return None
    method.gate = Distance.of(outlines).to(method.backbone.device)
    found = tuple(sorted(normals))
    limit, provisional = conformal_threshold(found, SHARE)
    spans, kernels = spanned(shots.acquired)
    return Gate(limit, SHARE, provisional, found, spans, kernels)
