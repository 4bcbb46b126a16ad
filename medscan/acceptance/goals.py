"""What a detector must reach, and whether the labelled studies show that it does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from medscan.acceptance.figures import Figures, Share, percent
from medscan.errors import UsageError
from medscan.metrics import lower, needed


class Verdict(StrEnum):
    """What an acceptance test says."""

    ACCEPTED = "accepted"
    TOO_FEW = "not shown"
    TOO_LOW = "not reached"


@dataclass(frozen=True, slots=True)
class Goals:
    """What the site asks for.

    Parameters
    ----------
    sensitivity, specificity : float
        Least that the detector must have.
    confidence : float
        Probability with which a detector that has less is refused.
    """

    sensitivity: float = 0.8
    specificity: float = 0.8
    confidence: float = 0.95

    def check(self) -> None:
        """Refuse goals that are no shares.

        Raises
        ------
        UsageError
        """
        for name, value in (
            ("--min-sensitivity", self.sensitivity),
            ("--min-specificity", self.specificity),
            ("--confidence", self.confidence),
        ):
            if not 0 < value < 1:
                raise UsageError(f"{name} {value:g}: a number between 0 and 1")


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal, and what the studies show of it.

    Parameters
    ----------
    what : str
        "sensitivity" or "specificity".
    least : float
        The goal.
    share : Share
        What was seen.
    bound : float
        What it is at least, with the confidence asked for; NaN without studies.
    verdict : Verdict
    more : int or None
        Further patients who would show it if the share stays as it is; None if no number would.
    """

    what: str
    least: float
    share: Share
    bound: float
    verdict: Verdict
    more: int | None

    @property
    def sentence(self) -> str:
        """What was seen, what that shows, and what would help."""
        share, label = self.share, _LABELS[self.what]
        if not share.studies:
            return f"{self.what}: no {label} study was labelled; it cannot be judged."
        seen = f"{self.what} {share.found} of {share.studies} ({percent(share.value)})"
        shows = f"{seen}: at least {percent(self.bound)}, and {percent(self.least)} is asked for"
        if self.verdict is Verdict.ACCEPTED:
            return f"{shows}: shown."
        if self.verdict is Verdict.TOO_LOW:
            return f"{shows}: it is lower than that."
        if self.more is None:
            return f"{shows}: not shown, and more studies like these would not show it."
        return (
            f"{shows}: not shown; {self.more} more {label} studies of other patients would show it "
            "if the share stays as it is."
        )


_LABELS = {"sensitivity": "abnormal", "specificity": "normal"}


def judge(figures: Figures, goals: Goals) -> tuple[Goal, ...]:
    """What the studies show of each goal, by the bounds of `medscan.metrics.bounds`."""
    asked = (
        ("sensitivity", goals.sensitivity, figures.sensitivity),
        ("specificity", goals.specificity, figures.specificity),
    )
    return tuple(_goal(what, least, share, goals.confidence) for what, least, share in asked)


def verdict_of(goals: tuple[Goal, ...]) -> Verdict:
    """Of all goals together: the worst."""
    found = {goal.verdict for goal in goals}
    order = (Verdict.TOO_LOW, Verdict.TOO_FEW)
    return next((verdict for verdict in order if verdict in found), Verdict.ACCEPTED)


def _goal(what: str, least: float, share: Share, confidence: float) -> Goal:
    bound = lower(share.value, share.patients, confidence)
    highest = 1 - lower(1 - share.value, share.patients, confidence)
    verdict, more = Verdict.TOO_FEW, None
    if bound >= least:
        verdict, more = Verdict.ACCEPTED, 0
    elif highest < least:
        verdict = Verdict.TOO_LOW
    else:
        count = needed(least, 1.0 if math.isnan(share.value) else share.value, confidence)
        more = None if count is None else max(1, math.ceil(count - share.patients))
    return Goal(what, least, share, bound, verdict, more)
