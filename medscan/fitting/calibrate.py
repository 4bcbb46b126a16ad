"""Where normals score when the method has not seen them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from medscan.errors import MedscanError
from medscan.fitting.held import NO_STACKS, HeldOut, NormalStacks
from medscan.fitting.scale import Scale
from medscan.fitting.train import Prepared, Progress, examples, remember, scores, train
from medscan.methods import Method
from medscan.normals import Calibration, conformal_threshold
from medscan.shots import Shots

log = logging.getLogger("medscan.fit")

MEMBERS = 4
"""Models that a method fitted at once is the mean of, where no number of folds is asked for."""


def calibrate(
    build: Callable[[], Method],
    data: Prepared,
    *,
    folds: int,
    target_fpr: float,
    seed: int,
    progress: Callable[[int], Progress] | None = None,
    final: Method | None = None,
    stacks: NormalStacks = NO_STACKS,
) -> Calibration:
    """Cross-validate over the patients of the shots.

    Every shot is scored by a method that was trained without any shot of its patient. No data
    beyond the shots is used; normals that were picked out do not count.

    Parameters
    ----------
    build : callable
        A freshly initialised method.
    data : Prepared
    folds : int
        At most; never more than there are patients with normal shots.
    target_fpr : float
        Share of normal slices that may be flagged.
    seed : int
        Of the split and the training.
    progress : callable, optional
        Given the number of a fold, from 1, returns what is told of its steps.
    final : Method, optional
        What was trained on all shots, and will score: scores are brought to its scale.
    stacks : NormalStacks
        Scored as well, by methods that were trained without any shot of their patients.

    Returns
    -------
    Calibration
        Without normals, and provisional, when all normals are of one patient. After Ctrl-C it is
        provisional, and by the folds that were done.
    """
    shots, held, scale = data.shots, HeldOut(), Scale()
    # Without training a score is a distance, or a fixed sentence's: it has no other scale.
    ours = scores(final, data)[0] if final is not None and final.settings.epochs else None
    parts = left_out(shots, build().learns_from, folds, seed)
    for number, chosen in enumerate(parts):
        rest = data.take(~chosen)
        method = build()
        if not _learnt(method, rest, seed, progress(number + 1) if progress else None):
            return _interrupted(held, target_fpr, number, len(parts), "folds")
        remember(method, rest)
        found, maps = scores(method, data)
        if ours is not None:
            scale = Scale.between(found[~chosen], ours[~chosen], rest.shots.labels)
        held.add(shots, chosen & _counted(shots), scale(found), maps)
        try:
            for index in stacks.left_out(shots.patients[chosen], number, len(parts)):
                slices = stacks.scores(index, method, method.score)
                held.add_stack(stacks.patients[index], scale(slices))
        except KeyboardInterrupt:
            return _interrupted(held, target_fpr, number + 1, len(parts), "folds")
    return summarise(held, target_fpr)


def _interrupted(held: HeldOut, target_fpr: float, done: int, of: int, what: str) -> Calibration:
    log.warning("interrupted: calibrated on %d of %d %s", done, of, what)
    return replace(summarise(held, target_fpr), provisional=True)


def left_out(shots: Shots, learns_from: Sequence[int], folds: int, seed: int) -> list[Tensor]:
    """The folds (I,), bool, without which there are still shots of all labels to learn from."""
    parts = patient_folds(shots.labels, shots.patients, folds, seed)
    return [p for p in parts if set(learns_from) <= set(shots.labels[~p].int().tolist())]


def _learnt(method: Method, data: Prepared, seed: int, progress: Progress | None) -> bool:
    """Whether a method was trained to its end; one that was not says nothing of one that was."""
    try:
        return train(method, data, seed, progress)
    except KeyboardInterrupt:
        return False


def solve(
    method: Method,
    data: Prepared,
    *,
    folds: int,
    target_fpr: float,
    seed: int,
    stacks: NormalStacks = NO_STACKS,
    solved: Callable[[], None] | None = None,
) -> Calibration:
    """Fit a method that learns from all shots at once, and calibrate it on those it left out.

    Parameters
    ----------
    method : Method
        Freshly built; learns in place.
    data, folds, target_fpr, seed, stacks
        As in `calibrate`. Without folds the method still leaves out a fourth of the patients at a
        time, but is not calibrated.
    solved : callable, optional
        Called when it has learnt, before stacks are scored.
    """
    shots, held = data.shots, HeldOut()
    parts = patient_folds(shots.labels, shots.patients, folds or MEMBERS, seed)
    unseen = method.solve(examples(data), parts)
    if solved is not None:
        solved()
    method.eval().to(method.backbone.device)
    if not folds:
        return summarise(held, target_fpr)
    held.add(shots.take(unseen.which), _counted(shots)[unseen.which], unseen.scores, unseen.maps)
    try:
        for number, judge in unseen.judges.items():
            for index in stacks.left_out(shots.patients[parts[number]], number, len(parts)):
                held.add_stack(stacks.patients[index], stacks.scores(index, method, judge))
    except KeyboardInterrupt:
        done, of = len(held.stacks), len(stacks.stacks)
        return _interrupted(held, target_fpr, done, of, "normal stacks")
    return summarise(held, target_fpr)


def _counted(shots: Shots) -> Tensor:
    """The shots (I,), bool, whose scores tell where slices of their label score."""
    everyone = torch.ones(len(shots), dtype=torch.bool)
    return everyone if shots.typical is None else shots.typical | (shots.labels == 1)


def patient_folds(labels: Tensor, patients: Tensor, folds: int, seed: int) -> list[Tensor]:
    """Disjoint masks (I,), bool, that together cover every patient who has a normal shot."""
    with_normals = torch.unique(patients[labels == 0])
    order = with_normals[torch.randperm(len(with_normals), generator=_generator(seed))]
    count = min(folds, len(order))
    if count < 2:
        return []
    parts = [order[start::count] for start in range(count)]
    others = [p for p in torch.unique(patients).tolist() if p not in order.tolist()]
    # Patients with abnormal shots only are spread over the folds as well.
    return [
        torch.isin(patients, torch.cat([part, torch.tensor(others[n::count], dtype=torch.int64)]))
        for n, part in enumerate(parts)
    ]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def summarise(held: HeldOut, target_fpr: float) -> Calibration:
    """Calibration from what was said of slices and stacks that were left out.

    Raises
    ------
    MedscanError
        If a score is not finite: no threshold could be told from it.
    """
    by_patient = held.normals
    normals = tuple(sorted(score for scores in by_patient.values() for score in scores))
    if not all(map(math.isfinite, (*normals, *held.abnormals))):
        raise MedscanError(
            "the fit failed: scores of held-out shots are not finite; change the settings "
            "of the method with --set, such as a lower learning rate"
        )
    threshold, provisional = conformal_threshold(normals, target_fpr)
    low, high = 0.0, 1.0
    if held.maps:
        low = float(np.median(torch.stack(held.maps).numpy()))
        worst = tuple(float(grid.max()) for grid in held.maps)
        high = max(conformal_threshold(worst, target_fpr)[0], low + 1e-3)
    return Calibration(
        normals,
        threshold,
        target_fpr,
        provisional,
        low,
        high,
        tuple(sorted(held.abnormals)),
        len(by_patient),
        tuple(scores for _, scores in held.stacks),
    )
