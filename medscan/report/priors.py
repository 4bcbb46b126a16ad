"""Earlier studies of the same patient, as far as their scores can be compared with later ones.

Scores compare where they were made in the same way: by the same detector, in the same precision,
after the same preprocessing, of the same kind of image cut in the same plane. Whatever else an
earlier study has is no part of a history.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from medscan.report.worklist import Row
from medscan.results import StackResult, State

_WAY = ("detector_hash", "maker", "precision", "modality", "plane")
"""Attributes of stacks whose scores compare; see `StackResult`."""
_PROTOCOL = 4
"""Place of the protocol in `device`."""


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier study of the same patient, with the stack that a later one compares with.

    Parameters
    ----------
    row : Row
    stack : StackResult
        Without heatmaps and thumbnails. Of several, one in the same frame of reference, else of the
        same protocol, else with the highest score.
    flagged : bool
        Whether any stack was flagged that compares.
    whole : bool
        Whether every slice of them was looked at: none was passed over, and each could be read.
    clear : bool
        Whether what is flagged now was not there to be flagged: a slice unseen says nothing, nor
        does a stack that a person had to look at, or one that today's threshold would flag.
    """

    row: Row
    stack: StackResult
    flagged: bool
    whole: bool
    clear: bool

    @property
    def day(self) -> str:
        """Date of the study, ISO 8601."""
        return self.row.day


def priors_of(row: Row, stack: StackResult) -> Iterator[Prior]:
    """What earlier studies of the patient have that compares with a stack, the last study first."""
    if math.isnan(stack.score):
        return
    threshold = float(stack.info["threshold"])
    for earlier in row.earlier:
        alike = [s for s in earlier.study.stacks if _compares(s, stack)]
        if alike:
            whole = not any(s.count(State.PASSED_OVER) or s.count(State.FAILED) for s in alike)
            yield Prior(
                earlier,
                max(alike, key=lambda s: (*_likeness(s, stack), s.score)),
                flagged=any(s.flagged for s in alike),
                whole=whole,
                clear=whole and not any(s.flagged or s.open or s.score >= threshold for s in alike),
            )


def last_prior(row: Row, stack: StackResult) -> Prior | None:
    """The first of `priors_of`; None without any."""
    return next(priors_of(row, stack), None)


def stack_new_since(row: Row, stack: StackResult) -> str:
    """Day of the last earlier study if a stack is flagged now and was clear then; else empty."""
    prior = last_prior(row, stack) if stack.flagged else None
    return prior.day if prior and prior.clear else ""


def new_since(row: Row) -> str:
    """Day of the last earlier study if a study is flagged now and was clear then; else empty.

    It is that of the most abnormal series.
    """
    flagged = [stack for stack in row.study.stacks if stack.flagged]
    before = any(not prior.clear for s in flagged if (prior := last_prior(row, s)))
    return stack_new_since(row, row.worst) if row.worst and not before else ""


def in_same_frame(one: StackResult, other: StackResult) -> bool:
    """Whether positions in two stacks are in the same frame of reference, as far as is known."""
    stated = one.info.get("frame_of_reference")
    return bool(stated) and stated == other.info.get("frame_of_reference")


def _compares(one: StackResult, other: StackResult) -> bool:
    same = all(one.info.get(name, "") == other.info.get(name, "") for name in _WAY)
    return same and not math.isnan(one.score)


def _likeness(one: StackResult, other: StackResult) -> tuple[bool, bool]:
    protocols = [list(s.info.get("device") or ())[_PROTOCOL:] for s in (one, other)]
    return in_same_frame(one, other), bool(protocols[0]) and protocols[0] == protocols[1]
