"""Texts of the pages, in radiologists' words."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import NamedTuple

from medscan.archive import REASONS
from medscan.report.regions import Region
from medscan.report.standing import Standing
from medscan.report.worklist import Row
from medscan.results import StackResult, State, StudyResult
from medscan.scoring import TILES_IDLE
from medscan.text import is_uid

TEXT_LIMIT = 300
"""Characters of a text that the report shows."""

FLAGS = ("flagged", "uncertain", "unlike", "not flagged", "not scored")

MEANINGS = {str(reason): meaning for reason, (_, meaning) in REASONS.items()}
"""Meaning of each reason that a file or series was left out for."""

ASSUMED = "domain assumed: its header does not state all of it"
UNLIKE = "unlike what the detector was fitted on"
PROVISIONAL = "provisional threshold: too few normals"

_STATES = {
    State.SCORED: "scored",
    State.BACKGROUND: "empty (background only)",
    State.FAILED: "unusable",
    State.PASSED_OVER: "passed over (between scored ones)",
}


def flag_of(row: Row) -> str:
    """One of `FLAGS`."""
    return FLAGS[4] if row.rank is None else answer_of(row.study)


def answer_of(result: StudyResult | StackResult, *, flagged: bool = False) -> str:
    """One of `FLAGS` for a scored study or stack; `flagged`: count it as flagged in any case."""
    known = (flagged or result.flagged, result.uncertain, bool(result.unlike), True)
    return FLAGS[known.index(True)]


def compare_with_normals(standing: Standing, what: str = "studies") -> str:
    """Say how many normals score lower, and how many normal studies to expect here or above.

    The first number compares with the normal slices that the detector was calibrated on, the second
    is corrected for how many slices, series and detectors there were.

    Parameters
    ----------
    standing : Standing
    what : str
        "studies" or "series".
    """
    if not standing.compared:
        return "no normals to compare with"
    # Of n that can be expected at least one: never rarer than it is.
    one_in = math.floor(1 / standing.expected + 1e-6)
    fewer = "fewer than " * standing.uncounted
    share = f"{fewer}1 in {one_in}" if one_in > 1 else "most"
    return f"more abnormal than {_lower_normals(standing)} (expect {share} normal {what} here)"


def _lower_normals(standing: Standing) -> str:
    below, normals = standing.below, standing.normals
    if normals:
        return f"all {normals} normals" if below == normals else f"{below} of {normals} normals"
    # 99.95 would be rounded to 100.0.
    percent = f"{min(standing.percentile, 99.9):.1f} %"
    return "all normals" if standing.percentile >= 100 else f"{percent} of normals"


def reason_of(row: Row) -> str:
    """Why nothing was scored, or what was left out: each reason once, with its series."""
    by_meaning: dict[str, list[str]] = defaultdict(list)
    for what, why, _ in row.skipped:
        by_meaning[MEANINGS.get(why, why)].append(what)
    skipped = [f"{meaning}: {', '.join(series)}" for meaning, series in by_meaning.items()]
    return "; ".join([*skipped, *row.unscored]) or "no slice was scored" * (row.worst is None)


def states_of(stack: StackResult) -> str:
    """Count a stack's slices by state, in words."""
    counts = Counter(stack.state.tolist())
    return ", ".join(f"{counts[state]} {_STATES[state]}" for state in State if counts[state])


def patient_of(row: Row) -> str:
    """The patient's ID if it was kept, else the pseudonym."""
    info = row.study.info
    patient_id = info.get("patient_id")
    pseudonym = f"patient {info['patient']}" * bool(info["patient"])
    return f"patient ID {patient_id}" if patient_id else pseudonym


def uid_of(row: Row) -> str:
    """The StudyInstanceUID by which other programs find the study; empty where it has none.

    An invalid one is none: without `--identify` a hash stands in its place.
    """
    uid = str(row.study.info.get("StudyInstanceUID", ""))
    return uid if is_uid(uid) else ""


def accession_of(row: Row) -> str:
    """The accession number if it was kept."""
    return str(row.study.info.get("accession_number", ""))


def notes_of(row: Row) -> list[str]:
    """Reasons to read a study's result with care."""
    mark, worst = row.study.mark, row.worst
    notes = [PROVISIONAL] if worst and worst.info["provisional"] else []
    notes += ["outdated: scored by an earlier detector or version"] * mark.stale
    notes += [ASSUMED] if worst and worst.assumed else []
    notes += [unlike_note(stack) for stack in row.study.stacks if stack.unlike][:1]
    notes += [TILES_IDLE] if worst and TILES_IDLE in worst.info.get("notes", ()) else []
    kept = [f"{name} {when[:10]}" for name, when in row.kept.items()]
    notes += [f"not scored in the last scan, kept: {', '.join(kept)}"] * bool(kept)
    passed_over = sum(s.count(State.PASSED_OVER) for s in row.study.stacks)
    notes += [f"not every slice was scored: {passed_over} passed over"] * bool(passed_over)
    return notes + [f"files missing since {mark.absent[:10]}"] * bool(mark.absent)


def unlike_note(stack: StackResult) -> str:
    """Say why a stack is unlike what its detector was fitted on; empty if it is not."""
    return f"{UNLIKE}: {', '.join(stack.unlike)}" if stack.unlike else ""


def kept_note(detector: str, when: str) -> str:
    """Say that a score is that of an earlier scan."""
    return f"score of {detector} kept from the scan of {when[:10]}; not scored in the last scan"


def kind_of(stack: StackResult, *, with_modality: bool = True) -> str:
    """Modality, body part, sequence and plane of a stack, as far as its header states them.

    What was assumed is marked.
    """
    info = stack.info
    is_stated = not any(part.startswith("sequence ") for part in stack.assumed)
    words = [
        info["modality"] * with_modality,
        str(info["body_part"]).lower(),
        str(info.get("sequence", "")) * is_stated,
        str(info["plane"]),
        f"(assumed: {', '.join(stack.assumed)})" * bool(stack.assumed),
    ]
    return " ".join(word for word in words if word)


def number(value: float, digits: int = 3) -> str:
    """A number with fixed precision; a dash for NaN."""
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.{digits}f}"


def day(value: str) -> str:
    """A DICOM date as ISO 8601; any other text unchanged."""
    plain = len(value) == 8 and value.isascii() and value.isdigit()
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if plain else value


class RegionWords(NamedTuple):
    """A region of a map in words; empty where something is unknown."""

    peak: str
    slices: str
    volume: str
    area: str
    diameter: str
    extent: str
    centre: str


def region_words(region: Region) -> RegionWords:
    """A region as a page shows it: lengths to the millimetre, sides of the origin as letters."""
    run = f"{region.first + 1} to {region.last + 1}" if region.slices > 1 else f"{region.first + 1}"
    count = f" ({region.slices}, highest in {region.worst + 1})" if region.slices > 1 else ""
    volume, area = region.volume_mm3 / 1000, region.area_mm2 / 100
    known = not math.isnan(region.centre[0])
    sides = zip(("RL", "AP", "FH"), region.centre, strict=True)
    return RegionWords(
        peak=number(region.peak),
        slices=run + count,
        volume="" if math.isnan(volume) else f"{volume:.1f} ml",
        area="" if math.isnan(area) else f"{area:.1f} cm²",
        diameter="" if math.isnan(region.diameter_mm) else f"{region.diameter_mm:.0f} mm",
        extent=f"{' × '.join(f'{mm:.0f}' for mm in region.extent_mm)} mm" if known else "",  # noqa: RUF001
        centre=", ".join(f"{s[mm >= 0]} {abs(mm):.0f}" for s, mm in sides) + " mm" if known else "",
    )
