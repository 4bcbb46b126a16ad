"""Compare the scores of an archive with those that a detector was calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medscan.report.cards import Card, Cards
from medscan.report.worklist import Row
from medscan.results import StackResult

FEWEST = 8
"""Fewest stacks, and fewest normals, that are compared."""
LEVEL = 0.05
"""Significance level: a smaller p is reported as a difference."""
BINS = 30
SIZE = (420, 120)
"""Width and height of the histogram."""
_NOT_SHOWN = (
    "No difference from the calibration's normal slices was found, which does not show that there "
    "is none."
)
_SHIFTED = (
    "The scores are {side} than those of the calibration's normal slices, by more than chance "
    "explains."
)
_CAUSES = (
    "Either there are more abnormal studies here than among normals, or the scanner, protocol or "
    "population differs from what the detector was fitted for; then its thresholds and percentages "
    "do not apply."
)


@dataclass(frozen=True, slots=True)
class Drift:
    """The scores of one detector beside its calibration.

    Parameters
    ----------
    card : Card
    stacks, slices, normals : int
        Number of each that were compared.
    flagged : int
        Number of these stacks that are flagged.
    statistic, p : float
        Two-sample Kolmogorov-Smirnov; NaN with too few scores to compare.
    sentence : str
        The flag rate expected and seen, and whether the scores differ, in words.
    ours, theirs : Markup
        Histograms as SVG paths: of these results, and of the normals.
    low, high : float
        Scores at the left and right edges of the histogram.
    limit : float
        Position of the detector's slice threshold between the edges, 0 to 1; NaN if it lies beyond
        them or is not set.
    """

    card: Card
    stacks: int
    slices: int
    normals: int
    flagged: int
    statistic: float
    p: float
    sentence: str
    ours: Markup
    theirs: Markup
    low: float
    high: float
    limit: float


def drifts(rows: Sequence[Row], cards: Cards) -> list[Drift]:
    """Compare the scores of each detector that scored anything, ordered by its name."""
    by_detector: dict[str, list[StackResult]] = {}
    for stack in (stack for row in rows for stack in row.study.stacks):
        if np.isfinite(stack.slice_score).any():
            by_detector.setdefault(str(stack.info["detector_hash"]), []).append(stack)
    compared = [
        drift(cards[h], [_scores(s) for s in stacks], sum(s.flagged for s in stacks))
        for h, stacks in by_detector.items()
        if h in cards
    ]
    return sorted(compared, key=lambda d: (str(d.card.facts["name"]), str(d.card.facts["hash"])))


def _scores(stack: StackResult) -> NDArray[np.float64]:
    return stack.slice_score[np.isfinite(stack.slice_score)].astype(np.float64)


def drift(card: Card, stacks: Sequence[NDArray[np.float64]], flagged: int) -> Drift:
    """Compare scores with a detector's normals, and its flags with its target rate.

    Slices of one stack resemble each other, which would make any difference look certain; the
    two-sample Kolmogorov-Smirnov test therefore takes one slice per stack, sampled with a fixed
    seed.

    Parameters
    ----------
    card : Card
    stacks : sequence of float64 (n,)
        Finite slice scores of each stack.
    flagged : int
        Number of the stacks that are flagged.
    """
    normals = np.asarray(card.facts.get("normals") or [], dtype=np.float64)
    rng = np.random.default_rng(0)
    sample = np.array([rng.choice(scores) for scores in stacks])
    rates, unusual = _flag_rates(flagged, len(stacks), float(card.facts["target_fpr"]))
    statistic, p, difference = _test(sample, normals)
    causes = [_CAUSES] * (unusual or p < LEVEL)
    sentence = " ".join([rates, *([] if unusual and p >= LEVEL else [difference]), *causes])
    scores = np.concatenate(stacks)
    low, high = (float(f(np.concatenate([scores, normals]))) for f in (np.min, np.max))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    limit = (float(card.facts["threshold"]) - edges[0]) / (edges[-1] - edges[0])
    return Drift(
        card,
        len(stacks),
        len(scores),
        len(normals),
        flagged,
        statistic,
        p,
        sentence,
        _outline(scores, edges),
        _outline(normals, edges),
        float(edges[0]),
        float(edges[-1]),
        limit if 0 <= limit <= 1 else float("nan"),
    )


def _flag_rates(flagged: int, count: int, target: float) -> tuple[str, bool]:
    """Say how many series are flagged and how many normal ones would be; whether more than chance.

    Returns
    -------
    (str, bool)
        The sentence, and whether chance explains so high or low a number only with p < `LEVEL`.
    """
    p = binomial_p(flagged, count, target) if 0 < target < 1 else 1.0
    unusual = p < LEVEL
    seen = f"{flagged} of {count} series are flagged ({flagged / count:.0%})"
    expected = f"of normal series about {target:.1%} would be".replace(".0%", "%")
    chance = f", a difference that chance does not explain (p {_p(p)})" * unusual
    return f"{seen}; {expected}{chance}.".replace("%", " %"), unusual


def binomial_p(found: int, count: int, rate: float) -> float:
    """Two-sided exact p of `found` in `count` at a rate: twice the smaller tail."""
    from scipy.special import bdtr, bdtrc  # scipy.stats takes half a second to import

    return float(min(1.0, 2 * bdtr(found, count, rate), 2 * bdtrc(found - 1, count, rate)))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _test(sample: NDArray[np.float64], normals: NDArray[np.float64]) -> tuple[float, float, str]:
    """Statistic, p and their meaning in words."""
    from scipy.stats import ks_2samp

    fewest = min(len(sample), len(normals))
    if fewest < FEWEST:
        what = "series" if len(sample) <= len(normals) else "normal slices of the calibration"
        return float("nan"), float("nan"), f"Too few {what} ({fewest}) to compare their scores."
    test = ks_2samp(sample, normals)
    statistic, p = float(test.statistic), float(test.pvalue)
    if p >= LEVEL:
        return statistic, p, _NOT_SHOWN
    side = "higher" if np.median(sample) > np.median(normals) else "lower"
    return statistic, p, _SHIFTED.format(side=side)


def _outline(values: NDArray[np.float64], edges: NDArray[np.float64]) -> Markup:
    """Outline of a histogram as an SVG path, its highest bin as high as the drawing."""
    width, height = SIZE
    counts = np.histogram(values, edges)[0].astype(np.float64)
    tops = height * (1 - counts / max(counts.max(), 1))
    x = np.linspace(0, width, len(edges))
    steps = "".join(f"V{top:.1f}H{right:.1f}" for top, right in zip(tops, x[1:], strict=True))
    return Markup(f"M0 {height}{steps}V{height}") if len(values) else Markup("")  # noqa: S704
