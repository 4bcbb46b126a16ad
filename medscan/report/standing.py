"""Where studies stand among normals, whichever detectors scored them.

A study's place depends on its own stacks and their detectors alone, so that it is the same every
night. The more stacks are looked at, the more extreme the highest is among normal ones too: a
study with twelve series has twelve chances. Therefore

1. each stack's share is that of normal stacks of as many slices that score as high
   (`medscan.report.rarity.stack_shares`);
2. it is corrected for the number of stacks that the same detector scored;
3. and for the number of detectors that scored any;
4. the study has the smallest of these shares, of its flagged stacks if it has any, else of those
   that a person has to look at, uncertain or unlike the shots: what a list shows of a flagged study
   is what it was flagged for.

Each correction is Šidák's, which is exact for independent scores. Series of one patient resemble
one another, which makes the corrected share of a large study too large rather than too small.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from medscan.report.rarity import DRAWS, Normals, any_of, like, log_any, normals_of, stack_shares
from medscan.results import RunInfo, StackResult, State, StudyResult

NormalsByDetector = Mapping[str, Normals]
"""Normals of the detectors that have usable ones, by hash."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a stack or a study stands among normals; numbers are NaN if it cannot be compared.

    Parameters
    ----------
    log_share : float
        Natural logarithm of the share of normal ones expected here or above; ranks follow it.
    expected : float
        The same share as far as the number of normals can tell of it.
    below, normals : int
        Normal slices with a lower score, and all normal slices of the detector, or whole normal
        stacks where it has any; 0 if unknown.
    percentile : float
        As in `StackResult`.
    """

    log_share: float = math.nan
    expected: float = math.nan
    below: int = 0
    normals: int = 0
    percentile: float = math.nan

    @property
    def compared(self) -> bool:
        """Whether there were normals to compare with."""
        return not math.isnan(self.log_share)

    @property
    def uncounted(self) -> bool:
        """Whether fewer are expected than the detector has normals to tell by."""
        above_all = self.below == self.normals > 0
        return above_all and math.exp(self.log_share) < 0.999 * self.expected

    def among(self, count: int) -> Standing:
        """Correct for having been chosen as the most extreme of `count`."""
        return replace(
            self,
            log_share=log_any(self.log_share, count),
            expected=any_of(self.expected, count),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study and its scored stacks stand.

    Parameters
    ----------
    stacks : dict
        Standing of each scored stack by its key.
    worst : StackResult or None
        The most abnormal stack; None where nothing was scored.
    study : Standing
        Corrected for stacks and detectors.
    """

    stacks: Mapping[str, Standing] = field(default_factory=dict)
    worst: StackResult | None = None
    study: Standing = Standing()

    @property
    def order(self) -> tuple[bool, float, str, float]:
        """Sorts places, most abnormal first.

        Those that cannot be compared come last, by detector and then by score.
        """
        if self.study.compared:
            return (False, self.study.log_share, "", 0.0)
        if self.worst is None:
            return (True, 0.0, "", 0.0)
        return (True, 0.0, str(self.worst.info["detector"]), -self.worst.score)

    def of(self, stack: StackResult) -> Standing:
        """Where a stack stands, also one that was not scored."""
        return self.stacks.get(stack.key, Standing())

    def sorted(self, stacks: Iterable[StackResult]) -> list[StackResult]:
        """Stacks: the worst, other flagged ones, uncertain and unlike ones, others, unscored ones.

        Those alike are by share, or by score if they cannot be compared.
        """

        def order(stack: StackResult) -> tuple[bool, bool, bool, bool, bool, float]:
            standing, unscored = self.of(stack), math.isnan(stack.score)
            value = standing.log_share if standing.compared else -stack.score
            first = self.worst is not None and stack.key == self.worst.key
            answer = not stack.flagged, not stack.open
            rest = *answer, not standing.compared, 0.0 if unscored else value
            return not first, unscored, *rest

        return sorted(stacks, key=order)


def normals_by_detector(runs: Iterable[RunInfo]) -> dict[str, Normals]:
    """Collect the normals that several files record."""
    records = {str(facts["hash"]): facts for run in runs for facts in run.detectors}
    found = {key: normals_of(facts) for key, facts in records.items()}
    return {key: normals for key, normals in found.items() if normals is not None}


def stack_standing(stack: StackResult, normals: Normals | None) -> Standing:
    """Standing of a scored stack.

    Without usable normals, by the percentile among simulated normal stacks that its scan recorded.
    A detector that was never calibrated has neither; then it cannot be compared.
    """
    if normals is not None:
        counted = np.isin(stack.state, (State.SCORED, State.PASSED_OVER))
        count = max(int(counted.sum()), 1)
        among = like(normals, count)
        shares = stack_shares(normals, stack.score, count)
        return Standing(*shares, among.below(stack.score), len(among.scores), stack.percentile)
    if math.isnan(stack.percentile):
        return Standing()
    share = max(1 - stack.percentile / 100, 1 / (DRAWS + 1))
    return Standing(math.log(share), share, percentile=stack.percentile)


def place(study: StudyResult, normals: NormalsByDetector) -> Place:
    """Where a study stands."""
    scored = {s.key: s for s in study.stacks if not np.isnan(s.score)}
    stacks = {
        key: stack_standing(s, normals.get(str(s.info["detector_hash"])))
        for key, s in scored.items()
    }
    compared = [s for s in scored.values() if stacks[s.key].compared]
    looks = Counter(str(s.info["detector_hash"]) for s in compared)

    def corrected(stack: StackResult) -> Standing:
        own = looks[str(stack.info["detector_hash"])]
        return stacks[stack.key].among(own).among(len(looks))

    def answer(stack: StackResult) -> tuple[bool, bool]:
        return not stack.flagged, not stack.open

    if compared:
        worst = min(compared, key=lambda s: (*answer(s), corrected(s).log_share))
        return Place(stacks, worst, corrected(worst))
    by_score = sorted(scored.values(), key=lambda s: (*answer(s), -s.score))
    return Place(stacks, by_score[0] if by_score else None)
