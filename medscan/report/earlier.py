"""What a study's page says of the patient's earlier studies: their scores, and the last one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medscan.report.beside import Beside
from medscan.report.cards import Card
from medscan.report.orientation import PaneMarks, pane_marks
from medscan.report.priors import Prior, priors_of
from medscan.report.slices import Addresses, viewer_slices
from medscan.report.timeline import Moment, Timeline, timeline
from medscan.report.wording import number
from medscan.report.worklist import Row
from medscan.results import StackResult


@dataclass(frozen=True, slots=True)
class LastView:
    """A stack of the last earlier study, to be seen beside the current one.

    Parameters
    ----------
    day : str
        ISO 8601.
    page : str
        Address of its page; empty for none.
    marks : PaneMarks
    slices : dict
        As of `viewer_slices`, and `beside`: for each slice of the current viewer the place of that
        beside it; `apart`: how far it lies away, millimetres, None without a common frame of
        reference.
    """

    day: str
    page: str
    marks: PaneMarks
    slices: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EarlierView:
    """A stack among what earlier studies have that compares with it.

    Parameters
    ----------
    since : str
        Day since which it is new: that of the last earlier study, which was clear; else empty.
    words : str
        The same, or what else became of it since that study, as a sentence.
    moments : list of Moment
        Oldest first, the current study last.
    timeline : Timeline
    left_out : int
        Number of earlier studies that do not compare.
    last : LastView or None
    """

    since: str
    words: str
    moments: Sequence[Moment]
    timeline: Timeline
    left_out: int
    last: LastView | None


def earlier_view(
    row: Row, stack: StackResult, page_of: Callable[[Row], str], last: LastView | None
) -> EarlierView | None:
    """A stack among earlier ones; None if none compares."""
    priors = list(priors_of(row, stack))
    if not priors:
        return None
    earlier = [
        Moment.of(p.stack, p.day, page_of(p.row), flagged=p.flagged) for p in reversed(priors)
    ]
    moments = [*earlier, Moment.of(stack, row.day)]
    return EarlierView(
        since=priors[0].day if stack.flagged and priors[0].clear else "",
        words=_words(stack, priors[0], earlier[-1]),
        moments=moments,
        timeline=timeline(moments),
        left_out=len(row.earlier) - len(priors),
        last=last,
    )


def _words(stack: StackResult, prior: Prior, then: Moment) -> str:
    if stack.flagged:
        new = f"New since {prior.day}" if prior.clear else f"Flagged now, not on {prior.day}"
        what = f"Flagged on {prior.day} too" if prior.flagged else new
    else:
        what = f"Not flagged now, {'but' if prior.flagged else 'nor'} on {prior.day}"
    limit = "" if math.isnan(then.threshold) else f", threshold {number(then.threshold)}"
    unseen = "" if prior.whole else "; not every slice was scored then"
    return f"{what}: score {number(then.score)}{limit} then, {then.flag}{unseen}."


def last_view(
    found: Beside,
    stack: StackResult,
    card: Card | None,
    addresses: tuple[Addresses, Addresses],
    shown: Sequence[int],
    page: str,
) -> LastView:
    """The last earlier study as a viewer gets it.

    Parameters
    ----------
    found : Beside
    stack : StackResult
        Its stack with all arrays.
    card : Card or None
        Its detector.
    addresses : (dict, dict)
        Of its pictures, and of its slices at their own resolution.
    shown : sequence of int
        Slices of the viewer that it is beside of.
    page : str
        Address of its page.
    """
    indices = sorted({int(found.nearest[index]) for index in shown})
    at = {index: position for position, index in enumerate(indices)}
    pictures, full = addresses
    slices = viewer_slices(stack, card.scale if card else None, pictures, full, indices)
    apart = [round(float(found.apart_mm[index]), 1) for index in shown]
    slices |= {
        "beside": [at[int(found.nearest[index])] for index in shown],
        "apart": apart if found.in_same_frame else None,
    }
    return LastView(found.prior.day, page, pane_marks(stack), slices)


EarlierViews = Mapping[str, EarlierView]
"""By key of the current stack."""
