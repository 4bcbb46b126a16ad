"""Compare the scores of an archive with those that a detector was calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medscan.report.cards import Card, Cards
from medscan.report.worklist import Row

FEWEST = 8
"""Fewest stacks, and fewest normals, that are compared."""
LEVEL = 0.01
"""Significance level: a smaller p is reported as a difference."""
BINS = 30
SIZE = (420, 120)
"""Width and height of the histogram."""
_ALIKE = (
    "The scores differ from those of the calibration's normal slices no more than chance explains."
)
_SHIFTED = (
    "The scores are {side} than those of the calibration's normal slices, by more than chance "
    "explains. Either there are more abnormal studies here, or the scanner, protocol or population "
    "differs from what the detector was fitted for; then its thresholds and percentages do not "
    "apply."
)


@dataclass(frozen=True, slots=True)
class Drift:
    """The scores of one detector beside its calibration.

    Parameters
    ----------
    card : Card
    stacks, slices, normals : int
        Number of each that were compared.
    statistic, p : float
        Two-sample Kolmogorov-Smirnov; NaN with too few scores to compare.
    sentence : str
        Their meaning in words.
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
    by_detector: dict[str, list[NDArray[np.float64]]] = {}
    for stack in (stack for row in rows for stack in row.study.stacks):
        scores = stack.slice_score[np.isfinite(stack.slice_score)].astype(np.float64)
        if len(scores):
            by_detector.setdefault(str(stack.info["detector_hash"]), []).append(scores)
    compared = [drift(cards[h], stacks) for h, stacks in by_detector.items() if h in cards]
    return sorted(compared, key=lambda d: (str(d.card.facts["name"]), str(d.card.facts["hash"])))


def drift(card: Card, stacks: Sequence[NDArray[np.float64]]) -> Drift:
    """Compare scores with a detector's normals by the two-sample Kolmogorov-Smirnov statistic.

    Slices of one stack resemble each other, which would make any difference look certain; the test
    therefore takes one slice per stack, sampled with a fixed seed.

    Parameters
    ----------
    card : Card
    stacks : sequence of float64 (n,)
        Finite slice scores of each stack.
    """
    normals = np.asarray(card.facts.get("normals") or [], dtype=np.float64)
    rng = np.random.default_rng(0)
    sample = np.array([rng.choice(scores) for scores in stacks])
    statistic, p, sentence = _test(sample, normals)
    scores = np.concatenate(stacks)
    low, high = (float(f(np.concatenate([scores, normals]))) for f in (np.min, np.max))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    limit = (float(card.facts["threshold"]) - edges[0]) / (edges[-1] - edges[0])
    return Drift(
        card,
        len(stacks),
        len(scores),
        len(normals),
        statistic,
        p,
        sentence,
        _outline(scores, edges),
        _outline(normals, edges),
        float(edges[0]),
        float(edges[-1]),
        limit if 0 <= limit <= 1 else float("nan"),
    )


def _test(sample: NDArray[np.float64], normals: NDArray[np.float64]) -> tuple[float, float, str]:
    """Statistic, p and their meaning in words."""
    from scipy.stats import ks_2samp

    fewest = min(len(sample), len(normals))
    if fewest < FEWEST:
        what = "series" if len(sample) <= len(normals) else "normal slices of the calibration"
        return float("nan"), float("nan"), f"Too few {what} ({fewest}) to compare."
    test = ks_2samp(sample, normals)
    statistic, p = float(test.statistic), float(test.pvalue)
    if p >= LEVEL:
        return statistic, p, _ALIKE
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
