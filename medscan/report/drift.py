"""Whether the scores of an archive are distributed like those a detector was calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medscan.report.cards import Card, Cards
from medscan.report.worklist import Row

FEWEST = 8
"""Stacks, and normals, below which nothing is said."""
LEVEL = 0.01
"""p below which a difference is called one."""
BINS = 30
SIZE = (420, 120)


@dataclass(frozen=True, slots=True)
class Drift:
    """The scores of one detector beside its calibration.

    Parameters
    ----------
    card : Card
    stacks, slices, normals : int
        Compared.
    statistic, p : float
        Two-sample Kolmogorov-Smirnov; NaN where there is too little to compare.
    sentence : str
        What that means.
    ours, theirs : Markup
        Histograms as SVG paths: of these results, and of the normals.
    low, high : float
        Scores at the left and the right of the drawing.
    limit : float
        Place of the detector's slice threshold on it, 0 to 1; NaN when beyond or not set.
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
    """A comparison for each detector that scored anything, by name."""
    scores: dict[str, list[NDArray[np.float64]]] = {}
    for stack in (stack for row in rows for stack in row.study.stacks):
        known = stack.slice_score[np.isfinite(stack.slice_score)].astype(np.float64)
        if len(known):
            scores.setdefault(str(stack.info["detector_hash"]), []).append(known)
    found = [drift(cards[digest], stacks) for digest, stacks in scores.items() if digest in cards]
    return sorted(found, key=lambda d: (str(d.card.facts["name"]), str(d.card.facts["hash"])))


def drift(card: Card, stacks: Sequence[NDArray[np.float64]]) -> Drift:
    """Compare scores with a detector's normals by the two-sample Kolmogorov-Smirnov statistic.

    Slices of one stack resemble each other, which would make any difference look certain; the test
    is therefore made on one slice a stack, drawn with a fixed seed.

    Parameters
    ----------
    card : Card
    stacks : sequence of float64 (n,)
        Finite slice scores of each stack.
    """
    normals = np.asarray(card.facts.get("normals") or [], dtype=np.float64)
    rng = np.random.default_rng(0)
    drawn = np.array([rng.choice(scores) for scores in stacks])
    statistic, p, sentence = _tested(drawn, normals)
    every = np.concatenate(stacks)
    low, high = (float(f(np.concatenate([every, normals]))) for f in (np.min, np.max))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    limit = (float(card.facts["threshold"]) - edges[0]) / (edges[-1] - edges[0])
    return Drift(
        card,
        len(stacks),
        len(every),
        len(normals),
        statistic,
        p,
        sentence,
        _outline(every, edges),
        _outline(normals, edges),
        float(edges[0]),
        float(edges[-1]),
        limit if 0 <= limit <= 1 else float("nan"),
    )


def _tested(drawn: NDArray[np.float64], normals: NDArray[np.float64]) -> tuple[float, float, str]:
    from scipy.stats import ks_2samp

    fewest = min(len(drawn), len(normals))
    if fewest < FEWEST:
        what = "series" if len(drawn) <= len(normals) else "normals of the calibration"
        return float("nan"), float("nan"), f"Too few {what} ({fewest}) to compare."
    found = ks_2samp(drawn, normals)
    statistic, p = float(found.statistic), float(found.pvalue)
    if p >= LEVEL:
        return (
            statistic,
            p,
            ("The scores differ no more from those of the calibration's normals than chance does."),
        )
    side = "higher" if np.median(drawn) > np.median(normals) else "lower"
    return (
        statistic,
        p,
        (
            f"The scores are {side} than those of the calibration's normals, by more than chance: "
            "there are more abnormal studies here, or a scanner, protocol or population that the "
            "detector was not fitted for. Then its thresholds and percentiles do not hold."
        ),
    )


def _outline(values: NDArray[np.float64], edges: NDArray[np.float64]) -> Markup:
    """A histogram of equal area as the path of its outline."""
    width, height = SIZE
    counts = np.histogram(values, edges)[0].astype(np.float64)
    tops = height * (1 - counts / max(counts.max(), 1))
    x = np.linspace(0, width, len(edges))
    steps = "".join(f"V{top:.1f}H{right:.1f}" for top, right in zip(tops, x[1:], strict=True))
    return Markup(f"M0 {height}{steps}V{height}") if len(values) else Markup("")  # noqa: S704
