"""How a radiologist's verdicts and the flags go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medscan.report.decisions import Decisions, Verdict
from medscan.report.worklist import Row


@dataclass(frozen=True, slots=True)
class Agreement:
    """Judged studies that were scored, by verdict and flag; the others are only counted.

    Parameters
    ----------
    counts : mapping
        Studies by (verdict, flagged), of the verdicts abnormal and normal.
    unsure, unscored : int
        Judged studies that the figures leave out.
    """

    counts: Mapping[tuple[Verdict, bool], int]
    unsure: int
    unscored: int

    @property
    def sensitivity(self) -> str:
        """Flagged ones of those called abnormal, in words."""
        return self._share(Verdict.ABNORMAL, flagged=True)

    @property
    def specificity(self) -> str:
        """Those called normal that are not flagged, in words."""
        return self._share(Verdict.NORMAL, flagged=False)

    def _share(self, word: Verdict, *, flagged: bool) -> str:
        found = self.counts[word, flagged]
        total = found + self.counts[word, not flagged]
        return f"{found} of {total} ({100 * found / total:.0f} %)" if total else ""


def agreement(rows: Sequence[Row], decisions: Decisions) -> Agreement:
    """Count the judged studies of a worklist."""
    judged = [(row, word) for row in rows if (word := decisions.word(row.study.key))]
    known = [(row, word) for row, word in judged if row.rank is not None]
    counts = Counter((word, row.study.flagged) for row, word in known)
    return Agreement(
        {
            (w, flag): counts[w, flag]
            for w in (Verdict.ABNORMAL, Verdict.NORMAL)
            for flag in (True, False)
        },
        sum(word is Verdict.UNSURE for _, word in known),
        len(judged) - len(known),
    )


def words_of(study: str, decisions: Decisions) -> Iterator[str]:
    """Every verdict on a study and its parts, as its page shows them."""
    for (stack, at), word in decisions.studies.get(study, {}).items():
        part = f"slice {at} of stack {stack}" if at else f"stack {stack}" if stack else "study"
        yield f"{part}: {word}"
