"""Methods and baselines against each other over all data sets: ranks, and paired differences.

A difference of image AUROC is the mean over the seeds, in each of which both learn from the same
shots and are measured on the same slices. Its interval is of a bootstrap in which all methods have
the same draws of patients; over several data sets, each draws its own patients.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medscan.evaluate import Row
from medscan.files import replacing
from medscan.metrics import Estimate, difference, group_counts, weighted_auroc
from medscan.suites.declare import Suite
from medscan.text import cell

log = logging.getLogger("medscan.suites")

DRAWS = 1000
"""Of the bootstrap."""

Areas = tuple[float, NDArray[np.float64]]
"""Image AUROC, and its values in the draws."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Difference of image AUROC of two methods at K shots; `data` is empty for the mean of all."""

    data: str
    shots: int
    first: str
    second: str
    value: Estimate


@dataclass(frozen=True, slots=True)
class Standing:
    """A method at K shots over the data sets that it was measured on.

    Parameters
    ----------
    method : str
    shots, sets : int
    rank, auroc : float
        Means over the data sets; in each the best method has rank 1, and equal ones share ranks.
    gap : Estimate
        Difference from the first method of the suite; NaN for that itself.
    """

    method: str
    shots: int
    sets: int
    rank: float
    auroc: float
    gap: Estimate


def items_of(rows: Sequence[Row]) -> dict[str, Any]:
    """What a record keeps of the slices: labels, scores, numbers for patients, a digest of names.

    Neither names nor patients can be told from it.
    """
    numbers = {name: n for n, name in enumerate(sorted({row.patient for row in rows}))}
    names = "\n".join(row.name for row in rows).encode("utf-8", "surrogateescape")
    return {
        "names_sha256": hashlib.sha256(names).hexdigest(),
        "patients": [numbers[row.patient] for row in rows],
        "labels": [row.label for row in rows],
        "scores": [row.score for row in rows],
    }


def gaps_of(suite: Suite, records: Iterable[dict[str, Any]]) -> list[Gap]:
    """Differences of each pair of methods, on each data set and over those that both have."""
    areas = _areas(suite, records)
    gaps = []
    for shots in suite.shots:
        names = [data.name for data in suite.data]
        for first, second in combinations((*suite.methods, *suite.baselines), 2):
            found = [
                (name, areas[name, shots, first], areas[name, shots, second])
                for name in names
                if (name, shots, first) in areas and (name, shots, second) in areas
            ]
            gaps += [Gap(n, shots, first, second, difference(a, b)) for n, a, b in found]
            if len(found) > 1:
                means = (_mean([a for _, a, _ in found]), _mean([b for _, _, b in found]))
                gaps.append(Gap("", shots, first, second, difference(*means)))
    return gaps


def standings_of(suite: Suite, records: Sequence[dict[str, Any]]) -> list[Standing]:
    """Methods at each number of shots, from the lowest mean rank up."""
    areas = _areas(suite, records)
    found = []
    for shots in suite.shots:
        ranks: dict[str, list[float]] = {}
        values: dict[str, dict[str, Areas]] = {}
        for data in suite.data:
            here = {m: a for (name, k, m), a in areas.items() if (name, k) == (data.name, shots)}
            order = stats.rankdata([-value for value, _ in here.values()])
            for (method, area), rank in zip(here.items(), order, strict=True):
                ranks.setdefault(method, []).append(float(rank))
                values.setdefault(method, {})[data.name] = area
        first = values.get(suite.methods[0], {})
        rows = [
            Standing(
                method,
                shots,
                len(mine),
                float(np.mean(mine)),
                float(np.mean([value for value, _ in values[method].values()])),
                _gap(values[method], first if method != suite.methods[0] else {}),
            )
            for method, mine in ranks.items()
        ]
        found += sorted(rows, key=lambda row: (row.rank, row.method))
    return found


def _gap(own: dict[str, Areas], other: dict[str, Areas]) -> Estimate:
    shared = [name for name in own if name in other]
    if not shared:
        return Estimate(math.nan, math.nan, math.nan)
    return difference(_mean([own[n] for n in shared]), _mean([other[n] for n in shared]))


def _mean(areas: Sequence[Areas]) -> Areas:
    return float(np.mean([a for a, _ in areas])), np.mean([drawn for _, drawn in areas], axis=0)


def _areas(suite: Suite, records: Iterable[dict[str, Any]]) -> dict[tuple[str, int, str], Areas]:
    """Mean over the seeds, by data set, shots and method; without those that lack both labels."""
    members: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for record in records:
        where = record["cell"]
        key = (where["data"]["name"], where["shots"], where["method"])
        members.setdefault(key, []).append(record["items"])
    found = {}
    for place, data in enumerate(suite.data):
        mine = {key: parts for key, parts in members.items() if key[0] == data.name}
        seen = Counter(items["names_sha256"] for parts in mine.values() for items in parts)
        for key, parts in mine.items():
            if any(items["names_sha256"] != seen.most_common(1)[0][0] for items in parts):
                log.warning("%s: %s saw other slices and is not compared", data.name, key[2])
            elif len(parts) == len(suite.seeds):
                area = _mean([_area(items, place) for items in parts])
                if not math.isnan(area[0]):
                    found[key] = area
    return found


def _area(items: dict[str, Any], seed: int) -> Areas:
    labels, scores, patients = (np.array(items[k]) for k in ("labels", "scores", "patients"))
    value = float(weighted_auroc(labels, scores, np.ones((1, len(labels))))[0])
    counts = group_counts(int(patients.max()) + 1, DRAWS, seed)
    if not len(counts):  # a single patient tells nothing of others
        return value, np.full(DRAWS, math.nan)
    return value, weighted_auroc(labels, scores, counts[:, patients])


def standing_tables(
    suite: Suite, standings: Sequence[Standing]
) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield a title and a table for each number of shots."""
    for shots in suite.shots:
        rows = [row for row in standings if row.shots == shots]
        sets = max((row.sets for row in rows), default=0)
        head = ["", "sets", "mean rank", "image AUROC", f"minus {suite.methods[0]}", "from", "to"]
        lines = [
            [row.method, str(row.sets), f"{row.rank:.1f}", f"{row.auroc:.3f}", *_signed(row.gap)]
            for row in rows
        ]
        if lines:
            yield f"{shots} shots, mean over {sets} data sets, 95 % by patient", [head, *lines]


def _signed(value: Estimate) -> list[str]:
    parts = (value.value, value.low, value.high)
    return ["" if math.isnan(part) else f"{part:+.3f}" for part in parts]


def write_gaps(gaps: Sequence[Gap], path: Path) -> None:
    """Write CSV: data (empty for all), shots, first, second, difference, and its interval."""
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("data", "shots", "first", "second", "difference", "low", "high"))
        for gap in gaps:
            numbers = (gap.value.value, gap.value.low, gap.value.high)
            shown = ["" if math.isnan(n) else f"{n:.4f}" for n in numbers]
            writer.writerow((cell(gap.data), gap.shots, gap.first, gap.second, *shown))
