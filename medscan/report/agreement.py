"""How a radiologist's verdicts agree with the flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medscan.report.decisions import Decisions, Verdict
from medscan.report.worklist import Row


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of the studies that have a verdict.

    Parameters
    ----------
    counts : mapping
        Scored studies by (verdict, flagged), for the verdicts abnormal and normal.
    unsure, unscored : int
        Studies left out of the counts: judged unsure, or not scored.
    """

    counts: Mapping[tuple[Verdict, bool], int]
    unsure: int
    unscored: int

    @property
    def sensitivity(self) -> str:
        """Flagged studies among those judged abnormal, in words."""
        return self._share(Verdict.ABNORMAL, flagged=True)

    @property
    def specificity(self) -> str:
        """Studies that are not flagged among those judged normal, in words."""
        return self._share(Verdict.NORMAL, flagged=False)

    def _share(self, verdict: Verdict, *, flagged: bool) -> str:
        count = self.counts[verdict, flagged]
        total = count + self.counts[verdict, not flagged]
        return f"{count} of {total} ({100 * count / total:.0f} %)" if total else ""


def agreement(rows: Sequence[Row], decisions: Decisions) -> Agreement:
    """Count the studies of a worklist that have a verdict."""
    judged = [(row, v) for row in rows if (v := decisions.verdict(row.study.key))]
    scored = [(row, verdict) for row, verdict in judged if row.rank is not None]
    counts = Counter((verdict, row.study.flagged) for row, verdict in scored)
    return Agreement(
        {
            (verdict, flagged): counts[verdict, flagged]
            for verdict in (Verdict.ABNORMAL, Verdict.NORMAL)
            for flagged in (True, False)
        },
        sum(verdict is Verdict.UNSURE for _, verdict in scored),
        len(judged) - len(scored),
    )


def verdicts_of(study: str, decisions: Decisions) -> Iterator[str]:
    """Every verdict on a study and its parts, as its page shows them."""
    for (stack, number), verdict in decisions.studies.get(study, {}).items():
        part = f"slice {number} of stack {stack}" if number else f"stack {stack}"
        yield f"{part if stack else 'study'}: {verdict}"
