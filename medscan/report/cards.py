"""Detectors as the report shows them, with the colour scales that their calibration fixes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from markupsafe import Markup

from medscan.report.colours import Scale
from medscan.report.pictures import Profile, data_uri, jpeg, profile
from medscan.results import RunInfo, StackResult


@dataclass(frozen=True, slots=True)
class Card:
    """A detector.

    Parameters
    ----------
    facts : dict
        Its entry of `RunInfo.detectors`.
    scale : Scale or None
        From patch scores to colours; None if it is not calibrated.
    low : float
        Median slice score of its normals.
    """

    facts: dict[str, Any]
    scale: Scale | None
    low: float

    @property
    def legend(self) -> Markup | None:
        """The colour bar as a data URI."""
        return _legend(self.scale) if self.scale else None

    @property
    def shows_evidence(self) -> bool:
        """Whether it was fitted without masks; not of files of older versions, which do not say."""
        return self.facts.get("masked") is False

    @property
    def tried_on_own(self) -> list[str]:
        """Precisions that were tried only on patients whom it was fitted on."""
        told = self.facts.get("tried_on_own")
        return [str(name) for name in told] if isinstance(told, list) else []

    @property
    def domain(self) -> str:
        """What images it was fitted for, in words."""
        return str(self.facts.get("domain") or "anything")

    @property
    def parents(self) -> list[tuple[str, str, str]]:
        """Name, short hash and number of verdicts of its ancestors, oldest first."""
        lineage = self.facts.get("lineage")
        # Read from a file that may be damaged: anything but a list of dictionaries is ignored.
        ancestors = [a for a in lineage if isinstance(a, dict)] if isinstance(lineage, list) else []
        texts = [[str(a.get(n, "")) for n in ("name", "digest", "verdicts")] for a in ancestors]
        return [(name, digest[:12], verdicts) for name, digest, verdicts in texts]


@lru_cache
def _legend(scale: Scale) -> Markup:
    return data_uri(jpeg(scale.legend()))


Cards = dict[str, Card]
"""Detectors by hash."""


def cards_of(runs: Iterable[RunInfo]) -> Cards:
    """Collect the detectors of several files."""
    cards: Cards = {}
    for facts in (facts for run in runs for facts in run.detectors):
        low = float(np.median(facts.get("normals") or [np.nan]))
        cards.setdefault(str(facts["hash"]), Card(facts, Scale.of(facts), low))
    return cards


def card_of(stack: StackResult, cards: Cards) -> Card | None:
    """The detector that scored a stack; None if its file does not describe it."""
    return cards.get(str(stack.info["detector_hash"]))


def profile_of(
    stack: StackResult, card: Card | None, size: tuple[int, int], most: int | None = None
) -> Profile:
    """Draw the scores along a stack on the scale of its detector, with its slice threshold."""
    threshold = float(stack.info["slice_threshold"])
    low = card.low if card else np.nan
    if not low < threshold:  # also where either is NaN
        low = float(np.nanmin(stack.slice_score, initial=np.nan_to_num(threshold)))
    return profile(stack.slice_score, threshold, low, size, most)
