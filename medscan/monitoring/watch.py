"""A history -> lines over time, and an alarm where something has changed."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from medscan.metrics import exact
from medscan.monitoring.evidence import BETS, Floats, began, bets, evidence, p_values
from medscan.monitoring.history import VARIABLES, Entry
from medscan.monitoring.lines import ALL, Alarm, Line, Precision, Stratum, Unit, Watched

NIGHTS = 365
"""Nights over which the rate of false alarms is stated."""
MEASURES = ("scores", "distances from its shots", "failures")
CAUSES = ("model", "software", "protocol")
"""What may have changed with a stratum."""
NEAR = 3
"""Nights before an estimated beginning in which a new cause may have come up."""
NAMED = 3
"""Values of a cause that an alarm names at most."""


def watch(entries: Sequence[Entry], verdicts: Mapping[str, str], rate: float = 0.05) -> Watched:
    """Look at a history.

    Parameters
    ----------
    entries : sequence of Entry
        In the order of nights.
    verdicts : mapping
        Verdict by study.
    rate : float
        Most probable that a detector that does what it did gives an alarm within a year.
    """
    lines, alarms = [], []
    for detector in sorted({entry.detector for entry in entries}):
        mine = [entry for entry in entries if entry.detector == detector]
        strata = dict(_strata(mine))
        stakes = _stakes(strata, rate)
        for stratum, units in strata.items():
            line, found = _looked_at(stratum, units, stakes)
            lines.append(line)
            alarms += found
    alarms.sort(key=lambda a: (a.noticed, -a.evidence, str(a.stratum)))
    nights = tuple(sorted({entry.night for entry in entries}))
    return Watched(rate, nights, tuple(lines), tuple(alarms), tuple(_precision(entries, verdicts)))


# --- strata ---------------------------------------------------------------------------------------


def _strata(entries: Sequence[Entry]) -> Iterator[tuple[Stratum, list[Unit]]]:
    """The strata of a detector, and their studies; none for what is not known."""
    for variable in (ALL, *VARIABLES):
        groups: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            if value := _value(entry, variable):
                groups[value].append(entry)
        for value in sorted(groups):
            first = entries[0]
            yield Stratum(first.detector, first.name, variable, value), _units(groups[value])


def _value(entry: Entry, variable: str) -> str:
    if variable == ALL:
        return ALL
    if variable == "scanner":
        words = (entry.manufacturer, entry.model, entry.scanner)
        return " ".join(filter(None, words)) if entry.scanner else ""
    return str(getattr(entry, variable))


def _units(entries: Sequence[Entry]) -> list[Unit]:
    """Studies of a stratum, in the order of nights; within a night in one that tells nothing."""
    groups: defaultdict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.night, _mixed(entry.study), entry.study].append(entry)
    return [
        _unit(night, study, groups[night, mixed, study]) for night, mixed, study in sorted(groups)
    ]


def _unit(night: str, study: str, stacks: Sequence[Entry]) -> Unit:
    flagged = any(stack.flagged for stack in stacks)
    first = min(stacks, key=lambda stack: stack.stack)
    return Unit(
        study,
        night,
        _highest(stack.score for stack in stacks),
        _highest(stack.distance for stack in stacks),
        flagged,
        not flagged and any(stack.uncertain for stack in stacks),
        any(stack.unlike for stack in stacks),
        any(stack.failed for stack in stacks),
        first.software,
        first.protocol,
        first.model,
    )


def _highest(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _mixed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# --- evidence -------------------------------------------------------------------------------------


def _stakes(strata: Mapping[Stratum, Sequence[Unit]], rate: float) -> dict[str, float]:
    """What each stratum and measure stakes on a night: an equal part of what a night may cost.

    Strata count from the first night on that they are seen.
    """
    first = Counter(units[0].night for units in strata.values())
    nights = sorted({unit.night for units in strata.values() for unit in units})
    seen, stakes = 0, {}
    for night in nights:
        seen += first[night] * len(MEASURES)
        stakes[night] = rate / NIGHTS / seen
    return stakes


def _looked_at(
    stratum: Stratum, units: Sequence[Unit], stakes: Mapping[str, float]
) -> tuple[Line, list[Alarm]]:
    nights = sorted({unit.night for unit in units})
    place = {night: number for number, night in enumerate(nights)}
    at = np.array([place[unit.night] for unit in units])
    staked = np.array([stakes[night] for night in nights])
    alarms, capital = [], np.zeros(len(nights))
    for measure in MEASURES:
        values = _values(units, measure)
        known = ~np.isnan(values)
        gains = _gains(stratum, measure, units, values, at, len(nights))
        found = evidence(gains, staked)
        capital = found if measure == MEASURES[0] else capital
        if known.any() and found.max() >= 1:
            alarms.append(_alarm(stratum, measure, units, nights, gains, found))
    return _line(stratum, units, nights, capital), alarms


def _values(units: Sequence[Unit], measure: str) -> Floats:
    scores, distances, _ = MEASURES
    if measure == scores:
        return np.array([unit.score for unit in units])
    if measure == distances:
        return np.array([unit.distance for unit in units])
    return np.array([float(unit.failed) for unit in units])


def _gains(
    stratum: Stratum,
    measure: str,
    units: Sequence[Unit],
    values: Floats,
    at: np.ndarray,
    nights: int,
) -> Floats:
    """What each bet gains in each night; shape (nights, bets)."""
    chosen = np.flatnonzero(~np.isnan(values))
    salt = f"{stratum.detector} {stratum.variable} {measure}"
    ties = [int(_mixed(f"{salt} {units[i].study}")[:13], 16) / 16**13 for i in chosen.tolist()]
    gains = np.zeros((nights, len(BETS)))
    np.add.at(gains, at[chosen], bets(p_values(values[chosen].tolist(), ties)))
    return gains


def _alarm(
    stratum: Stratum,
    measure: str,
    units: Sequence[Unit],
    nights: Sequence[str],
    gains: Floats,
    found: Floats,
) -> Alarm:
    noticed = int(np.argmax(found >= 1))
    start, bet = began(gains[: noticed + 1])
    how = f"are {BETS[bet]}"
    if measure == "failures":
        how = {"higher": "are more frequent", "lower": "are less frequent"}.get(BETS[bet], how)
    changed = tuple(_changed(units, nights, start, noticed))
    return Alarm(stratum, measure, nights[start], nights[noticed], how, changed, float(found.max()))


def _changed(
    units: Sequence[Unit], nights: Sequence[str], start: int, noticed: int
) -> Iterator[str]:
    """What first came up in a stratum around the time at which it began to change."""
    earliest, latest = nights[max(start - NEAR, 0)], nights[noticed]
    for cause in CAUSES:
        first: dict[str, str] = {}
        for unit in units:
            first.setdefault(str(getattr(unit, cause)), unit.night)
        new = [v for v, night in first.items() if v and earliest < night <= latest]
        old = [v for v, night in first.items() if v and night <= earliest]
        if new and old:
            yield f"{cause} {_listed(new)} for the first time (before: {_listed(old)})"


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
    return ", ".join(values[:NAMED]) + more


def _line(stratum: Stratum, units: Sequence[Unit], nights: Sequence[str], capital: Floats) -> Line:
    by_night: dict[str, list[Unit]] = {night: [] for night in nights}
    for unit in units:
        by_night[unit.night].append(unit)
    groups = list(by_night.values())
    scores = [[u.score for u in group if not math.isnan(u.score)] for group in groups]
    return Line(
        stratum,
        tuple(nights),
        tuple(map(len, groups)),
        tuple(sum(u.flagged for u in group) for group in groups),
        tuple(sum(u.uncertain for u in group) for group in groups),
        tuple(sum(u.unlike for u in group) for group in groups),
        tuple(sum(u.failed for u in group) for group in groups),
        tuple(float(np.median(s)) if s else math.nan for s in scores),
        tuple(map(float, capital)),
    )


# --- verdicts -------------------------------------------------------------------------------------


def _precision(entries: Sequence[Entry], verdicts: Mapping[str, str]) -> Iterator[Precision]:
    flagged = {(e.name, e.night[:7], e.study) for e in entries if e.flagged}
    counts: Counter[tuple[str, str, str]] = Counter()
    for name, month, study in flagged:
        counts[name, month, verdicts.get(study, "")] += 1
    for name, month in sorted({(name, month) for name, month, _ in counts}):
        abnormal, normal = (counts[name, month, word] for word in ("abnormal", "normal"))
        if judged := abnormal + normal:
            yield Precision(name, month, abnormal, judged, exact(abnormal / judged, judged))
