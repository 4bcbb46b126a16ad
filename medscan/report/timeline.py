"""The scores of a patient's studies over time, as a drawing that needs no colour."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from medscan.report.wording import answer_of, number
from medscan.results import StackResult

_WIDTH, _HEIGHT = 480, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 20.0, 14.0, 24.0
"""Room around the points: for numbers, and for dates below."""
_SIZE = 5.0
"""Half the width of a mark."""
_MARKS = ("triangle", "diamond", "circle")


@dataclass(frozen=True, slots=True)
class Moment:
    """A study in a history.

    Parameters
    ----------
    day : str
        ISO 8601.
    score, threshold : float
        Of the stack; its threshold is that of a stack with as many slices.
    flag : str
        One of `wording.FLAGS`.
    page : str
        Address of its page; empty for none.
    """

    day: str
    score: float
    threshold: float
    flag: str
    page: str = ""

    @classmethod
    def of(cls, stack: StackResult, day: str, page: str = "", *, flagged: bool = False) -> Moment:
        """A stack of a study of a day; `flagged`: also if only another stack is."""
        flag = answer_of(stack, flagged=flagged)
        return cls(day, stack.score, float(stack.info["threshold"]), flag, page)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Scores over time as paths of an SVG: flags by the form of their marks.

    Parameters
    ----------
    width, height : int
        Size of its view box.
    line : Markup
        Path along all studies.
    limit : Markup
        Path of their thresholds; empty without any.
    flagged, doubtful, others : Markup
        Paths of marks: triangles, diamonds of those for a person to look at, and circles.
    ring : Markup
        Path of a circle around the last study.
    labels : list of (float, float, str)
        Texts with the place of their middle: the first and the last day, and the last score.
    words : str
        Description of the drawing, for those who cannot see it.
    """

    width: int
    height: int
    line: Markup
    limit: Markup
    flagged: Markup
    doubtful: Markup
    others: Markup
    ring: Markup
    labels: list[tuple[float, float, str]]
    words: str


def timeline(moments: Sequence[Moment]) -> Timeline:
    """Draw at least two studies, oldest first: to the right by days, upwards by score."""
    x, (y, limits) = list(_across(moments)), _up(moments)
    at = list(zip(x, y, strict=True))
    marks = dict.fromkeys(_MARKS, "")
    for moment, (a, b) in zip(moments, at, strict=True):
        marks[_form(moment)] += _mark(_form(moment), a, b)
    known = [(a, b) for a, b in zip(x, limits, strict=True) if not math.isnan(b)]
    triangles, diamonds, circles = (Markup(marks[form]) for form in _MARKS)  # noqa: S704
    a, b = at[-1]
    first, last = moments[0], moments[-1]
    labels = [(x[0], _HEIGHT - 6.0, first.day), (a, _HEIGHT - 6.0, last.day)]
    return Timeline(
        _WIDTH,
        _HEIGHT,
        _path(at),
        _path(_wide(known)),
        triangles,
        diamonds,
        circles,
        Markup(_circle(a, b, 2 * _SIZE)),  # noqa: S704
        labels,
        _words(moments),
    )


def _across(moments: Sequence[Moment]) -> Iterator[float]:
    days = [datetime.date.fromisoformat(moment.day).toordinal() for moment in moments]
    room = _WIDTH - _LEFT - _RIGHT - _LEFT
    for day in days:
        yield _LEFT + room * (day - days[0]) / max(days[-1] - days[0], 1)


def _up(moments: Sequence[Moment]) -> tuple[list[float], list[float]]:
    """Heights of scores and of thresholds."""
    scores, limits = [m.score for m in moments], [m.threshold for m in moments]
    known = [value for value in (*scores, *limits) if not math.isnan(value)]
    low, high = min(known), max(known)
    step = (_HEIGHT - _TOP - _BOTTOM - 2 * _SIZE) / ((high - low) or 1.0)

    def heights(values: Sequence[float]) -> list[float]:
        return [_HEIGHT - _BOTTOM - _SIZE - step * (value - low) for value in values]

    return heights(scores), heights(limits)


def _wide(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same line with level ends that reach beyond its outermost points."""
    if not points:
        return []
    (a, b), (c, d) = points[0], points[-1]
    return [(a - 3 * _SIZE, b), *points, (c + 3 * _SIZE, d)]


def _path(points: Sequence[tuple[float, float]]) -> Markup:
    text = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return Markup(f"M{text}" if text else "")  # noqa: S704


def _form(moment: Moment) -> str:
    return {"flagged": "triangle", "not flagged": "circle"}.get(moment.flag, "diamond")


def _mark(form: str, a: float, b: float) -> str:
    s = _SIZE
    if form == "triangle":
        return f"M{a:.1f} {b - s:.1f}l{s:g} {2 * s:g}h{-2 * s:g}z"
    if form == "diamond":
        return f"M{a:.1f} {b - s:.1f}l{s:g} {s:g}l{-s:g} {s:g}l{-s:g} {-s:g}z"
    return _circle(a, b, 0.8 * s)


def _circle(a: float, b: float, radius: float) -> str:
    arc = f"a{radius:g} {radius:g} 0 1 0"
    return f"M{a - radius:.1f} {b:.1f}{arc} {2 * radius:g} 0{arc} {-2 * radius:g} 0z"


def _words(moments: Sequence[Moment]) -> str:
    scores = (f"{m.day} {number(m.score)} ({m.flag})" for m in moments)
    return f"Scores of {len(moments)} studies of the patient: {', '.join(scores)}."
