"""Where to put the threshold so that what is asked for holds for patients to come.

Of independent abnormal scores, the threshold is one that k others lie below; of independent normal
ones, just above one that k others lie above. The largest k is taken for which the share to come on
the wrong side is at most the level, with the confidence that was asked for: see
`medscan.metrics.allowed`. Patients are what is independent: of several abnormal studies of a
patient the lowest score counts, of several normal ones the highest. Both labels at once divide
studies in three: flagged, uncertain and not flagged.

This is risk control on a calibration set (Bates et al., Journal of the ACM 68:43, 2021;
Angelopoulos et al., Learn then Test, Annals of Applied Statistics 19:1641-1662, 2025). Both risks
only fall as a threshold moves to one side, so that no correction for trying several is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from medscan.acceptance.figures import npv, percent, ppv
from medscan.acceptance.observe import Seen
from medscan.errors import UsageError
from medscan.metrics import allowed, fewest, lower


class Rule(StrEnum):
    """What a threshold is chosen for."""

    SENSITIVITY = "sensitivity"
    RATE = "rate"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Wish:
    """A rule, and the share that it is about.

    Parameters
    ----------
    rule : Rule
    level : float
        The least sensitivity; the most normal studies that may be flagged; or the most of either
        label on the wrong side of what is uncertain.
    """

    rule: Rule
    level: float

    def __str__(self) -> str:
        return f"{self.rule} {percent(self.level)}"

    @property
    def risk(self) -> float:
        """Share that may lie on the wrong side."""
        return 1 - self.level if self.rule is Rule.SENSITIVITY else self.level


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what it promises of patients to come; NaN where nothing is promised.

    Parameters
    ----------
    wish : Wish
    confidence : float
    threshold : float
        NaN if the studies cannot support it.
    uncertain_from : float or None
    abnormals, normals : int
        Patients of each label.
    misses, alarms : float
        At most this share of abnormal patients falls below everything that is not cleared, and of
        normal ones is flagged, each with the confidence asked for.
    ppv, npv : float
        At least this share of flagged studies is abnormal, and of those that are neither flagged
        nor uncertain normal, at the stated prevalence and with that confidence.
    uncertain : float
        Share of the labelled patients who are uncertain.
    refusal : str
        Why nothing was chosen, and how many more would do; empty if something was.
    """

    wish: Wish
    confidence: float
    threshold: float
    uncertain_from: float | None
    abnormals: int
    normals: int
    misses: float = math.nan
    alarms: float = math.nan
    ppv: float = math.nan
    npv: float = math.nan
    uncertain: float = 0.0
    refusal: str = ""

    @property
    def cleared_below(self) -> float:
        """Score below which a study is not flagged and not uncertain."""
        return self.threshold if self.uncertain_from is None else self.uncertain_from

    def applied(self, one: Seen) -> Seen:
        """The study as the detector answers with what was chosen."""
        flagged = one.score >= self.threshold
        uncertain = not flagged and one.score >= self.cleared_below
        return replace(one, flagged=flagged, uncertain=uncertain)

    @property
    def sentences(self) -> list[str]:
        """What was chosen, and what it promises; or why nothing was."""
        if self.refusal:
            return [f"{self.refusal}."]
        upper, sure = self.threshold, percent(self.confidence)
        where = f"studies are flagged from a score of {upper:.6g}"
        if self.uncertain_from is not None:
            where += f", and uncertain from {self.uncertain_from:.6g}"
        found = [
            f"chosen for {self.wish} on {self.abnormals} abnormal and {self.normals} normal "
            f"patients: {where}.",
            f"With a confidence of {sure} each: at most {_up(self.misses)} of abnormal patients to "
            f"come are neither flagged nor uncertain, at most {_up(self.alarms)} of normal ones "
            "are flagged.",
        ]
        if self.uncertain_from is not None:
            found.append(f"{percent(self.uncertain)} of the labelled patients are uncertain.")
        if not math.isnan(self.ppv):
            found.append(
                f"At the stated prevalence, with a confidence of {sure} together: PPV at least "
                f"{percent(self.ppv)}, NPV at least {percent(self.npv)}."
            )
        return found


def _up(value: float) -> str:
    """A share in percent, rounded up: what it is at most."""
    return f"{math.ceil(value * 1000 - 1e-9) / 10:.1f} %"


def parse_wish(text: str) -> Wish:
    """Parse `--choose`, such as `sensitivity=0.95`.

    Raises
    ------
    UsageError
    """
    rule, _, number = text.partition("=")
    try:
        wish = Wish(Rule(rule), float(number))
    except ValueError:
        wish = None
    if wish is None or not 0 < wish.level < 1:
        raise UsageError(
            "--choose: sensitivity=S, rate=R or answers=R with a number between 0 and 1, such as "
            "sensitivity=0.95"
        )
    return wish


def choose(
    seen: Sequence[Seen], wish: Wish, confidence: float = 0.95, prevalence: float | None = None
) -> Choice:
    """Choose a threshold on labelled studies.

    Abnormal studies without a score lie below every threshold.
    """
    ill, well = _by_patient(seen, 1, min), _by_patient(seen, 0, max)
    missable = alarmable = None
    lacking = []
    if wish.rule is not Rule.RATE:
        missable = allowed(len(ill), wish.risk, confidence)
        lacking += [(len(ill), "abnormal")] * (missable is None)
    if wish.rule is not Rule.SENSITIVITY:
        alarmable = allowed(len(well), wish.risk, confidence)
        lacking += [(len(well), "normal")] * (alarmable is None)
    if lacking:
        why = _too_few(wish, confidence, lacking)
        return Choice(wish, confidence, math.nan, None, len(ill), len(well), refusal=why)
    low = ill[missable] if missable is not None else math.nan
    high = math.nextafter(well[-1 - alarmable], math.inf) if alarmable is not None else math.nan
    threshold, uncertain_from = _placed(wish.rule, low, high)
    chosen = Choice(wish, confidence, threshold, uncertain_from, len(ill), len(well))
    if not math.isfinite(chosen.cleared_below):
        return replace(chosen, threshold=math.nan, uncertain_from=None, refusal=_UNSCORED)
    kept = _at_least(ill, chosen.cleared_below) if missable is None else len(ill) - missable
    quiet = _below(well, threshold) if alarmable is None else len(well) - alarmable
    return _promising(chosen, ill, well, (kept, quiet), prevalence)


def _placed(rule: Rule, low: float, high: float) -> tuple[float, float | None]:
    """The threshold, and where uncertain scores begin; where both may lie, fewest are flagged."""
    if rule is Rule.SENSITIVITY:
        return low, None
    if rule is Rule.RATE:
        return high, None
    return (low, None) if high <= low else (high, low)


def _promising(
    chosen: Choice,
    ill: Sequence[float],
    well: Sequence[float],
    right: tuple[int, int],
    prevalence: float | None,
) -> Choice:
    """Add what the studies promise of those to come.

    What is chosen by one label says nothing of the other: its studies are then as good as new, and
    have the bound of any share. `right` are the abnormal patients who are not cleared and the
    normal ones who are not flagged, as the choice counts them.
    """
    clear, flag = chosen.cleared_below, chosen.threshold
    caught, cleared = right
    if chosen.uncertain_from is not None:
        caught, cleared = _at_least(ill, flag), _below(well, clear)
    found = replace(
        chosen,
        misses=1 - _least(right[0], ill, chosen.confidence),
        alarms=1 - _least(right[1], well, chosen.confidence),
        uncertain=sum(clear <= score < flag for score in (*ill, *well)) / (len(ill) + len(well)),
    )
    if prevalence is None:
        return found
    each = (3 + chosen.confidence) / 4  # four bounds that hold together (Bonferroni)
    rates = [_least(n, ill, each) for n in (right[0], caught)]
    others = [_least(n, well, each) for n in (right[1], cleared)]
    return replace(
        found,
        ppv=ppv(rates[1], others[0], prevalence),
        npv=npv(rates[0], others[1], prevalence),
    )


def _at_least(scores: Sequence[float], limit: float) -> int:
    return sum(score >= limit for score in scores)


def _below(scores: Sequence[float], limit: float) -> int:
    return sum(score < limit for score in scores)


def _least(count: int, patients: Sequence[float], confidence: float) -> float:
    """Bound of a share of patients; 0 where there are none to tell."""
    return lower(count / len(patients), len(patients), confidence) if patients else 0.0


def _by_patient(
    seen: Sequence[Seen], label: int, worst: Callable[[Sequence[float]], float]
) -> list[float]:
    """The score of each patient that is hardest to get right, in ascending order."""
    scores: dict[str, list[float]] = {}
    for one in seen:
        if one.asked and one.label == label:
            score = -math.inf if math.isnan(one.score) else one.score
            scores.setdefault(one.patient, []).append(score)
    return sorted(map(worst, scores.values()))


def _too_few(wish: Wish, confidence: float, lacking: Sequence[tuple[int, str]]) -> str:
    count = fewest(wish.risk, confidence)
    there = " and ".join(f"{n} {label}" for n, label in lacking)
    more = " and ".join(f"{count - n} more {label}" for n, label in lacking)
    return (
        f"nothing was chosen: {wish} with a confidence of {percent(confidence)} needs {count} "
        f"studies of different patients, and there are {there} ones: label {more} ones"
    )


_UNSCORED = (
    "nothing was chosen: so many abnormal studies have no score that no threshold can keep what "
    "was asked for"
)
