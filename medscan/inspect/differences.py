"""A stack's result beside the same stack scored again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from medscan.gate import looks_different
from medscan.results import StackResult, State


@dataclass(slots=True)
class Differences:
    """How a stack scored again differs.

    Parameters
    ----------
    scores, maps : float
        Largest difference between slice scores, and between maps.
    distance : float
        Difference between distances from the detector's shots, in units of the gate's limit.
    problems : list of str
        What differs by more than the tolerance, in words.
    """

    scores: float = 0.0
    maps: float = 0.0
    distance: float = 0.0
    problems: list[str] = field(default_factory=list)


def differences(old: StackResult, new: StackResult, tolerance: float) -> Differences:
    """Compare states, scores and maps of slices that were asked for, and where the gate lies.

    Maps are stored with 11 bits, which may be rounded either way.
    """
    asked = np.flatnonzero(old.state != State.PASSED_OVER)
    found = Differences()
    _compare_gates(old, new, tolerance, found, whole=len(asked) == len(old.state))
    old, new = (
        replace(
            stack,
            state=stack.state[asked],
            slice_score=stack.slice_score[asked],
            heatmap=stack.heatmap[asked],
        )
        for stack in (old, new)
    )
    if count := int((new.state != old.state).sum()):
        found.problems.append(f"{count} slices have another state")
        return found
    found.scores = float(np.nanmax(np.abs(old.slice_score - new.slice_score), initial=0.0))
    difference = np.abs(old.heatmap.astype(np.float32) - new.heatmap.astype(np.float32))
    found.maps = float(difference.max(initial=0.0))
    rounding = np.spacing(np.maximum(np.abs(old.heatmap), np.abs(new.heatmap)))
    if found.scores > tolerance:
        found.problems.append(f"scores differ by up to {found.scores:.6f}")
    if (difference > tolerance + rounding).any():
        found.problems.append(f"maps differ by up to {found.maps:.6f}")
    return found


def _compare_gates(
    old: StackResult, new: StackResult, tolerance: float, found: Differences, *, whole: bool
) -> None:
    """Compare how far a stack lies from the shots, and why it is marked as unlike them.

    Results of older versions do not say. The distance is that of all slices: where some were passed
    over, it is another one. Far beyond the limit it is rounded as much more.
    """
    if "unlike" not in old.info:
        return
    said, says = ([why for why in s.unlike if not looks_different(why)] for s in (old, new))
    if said != says:
        found.problems.append(
            f"was unlike the shots by {_listed(said)}, and now is by {_listed(says)}"
        )
    if not whole:
        return
    before, after = (float(stack.info.get("distance", math.nan)) for stack in (old, new))
    if math.isnan(before) != math.isnan(after):
        found.problems.append(f"its distance from the shots was {before:.6f}, and is {after:.6f}")
        return
    found.distance = 0.0 if math.isnan(before) else abs(before - after)
    if found.distance > tolerance * max(1.0, before):
        found.problems.append(f"its distance from the shots differs by {found.distance:.6f}")
    marked = any(map(looks_different, old.unlike))
    if marked != any(map(looks_different, new.unlike)) and abs(after - 1) > tolerance:
        told = "is marked" if marked else "is not marked"
        found.problems.append(f"{told} as unlike the shots by its distance, which is {after:.6f}")


def _listed(reasons: list[str]) -> str:
    return "; ".join(reasons) or "nothing that its header says"
