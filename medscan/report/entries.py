"""Rows of the index: what a page of thousands of studies keeps of each."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup

from medscan.report.cards import Cards, card_of, profile_of
from medscan.report.pictures import MOST_POINTS
from medscan.report.worklist import Change, Changes, Row
from medscan.results import StackResult
from medscan.text import printable

SPARK = (132, 36)
TEXT_LIMIT = 300
"""Characters of a text that the report shows."""

FIELDS = (
    "href",
    "icon",
    "rank",
    "name",
    "patient",
    "score",
    "percentile",
    "flag",
    "note",
    "line",
    "hot",
    "limit",
    "words",
    "reason",
    "modality",
    "about",
    "date",
    "series",
    "slices",
    "detector",
    "change",
    "changed",
    "verdict",
    "key",
    "ids",
)
"""What is kept; the names of the row's cells in the template and the script."""

FLAGS = ("flagged", "not flagged", "not scored")

Entry = dict[str, str]


def entry(
    row: Row, cards: Cards, changes: Changes | None, *, href: str, icon: str, verdict: str = ""
) -> Entry:
    """A study as texts that are safe to show, by the names of `FIELDS`.

    Parameters
    ----------
    row : Row
    cards : dict
    changes : Changes or None
    href, icon : str
        Address of its page and of its picture; empty for none.
    verdict : str
        A radiologist's; empty for none.
    """
    info = row.study.info
    changed, change = changes.by_key[row.study.key] if changes else (Change.SAME, "")
    texts = {
        "href": href,
        "icon": icon,
        "rank": "" if row.rank is None else str(row.rank),
        "name": row.name,
        "patient": patient_of(row),
        "score": number(row.study.score),
        "percentile": number(row.study.percentile, 1),
        "flag": flag_of(row),
        "reason": row.reason,
        "modality": str(info.get("modality") or ""),
        "date": day(str(info.get("date") or "")),
        "series": str(row.series),
        "slices": str(row.slices),
        "change": change,
        "changed": str(changed),
        "verdict": verdict,
        "key": row.study.key,
        "note": "; ".join(notes_of(row)),
        "ids": f"{row.study.key} {info.get('StudyInstanceUID', '')}",
    }
    if row.worst is not None:
        texts |= _of_worst(row.worst, cards)
    elif not row.reason:
        texts["reason"] = "no slice was scored"
    return {field: _safe(texts.get(field, "")) for field in FIELDS}


def blank() -> Entry:
    """An empty row."""
    return dict.fromkeys(FIELDS, "")


def _of_worst(stack: StackResult, cards: Cards) -> dict[str, str]:
    drawn = profile_of(stack, card_of(stack, cards), SPARK, MOST_POINTS)
    return {
        "line": drawn.line,
        "hot": drawn.hot,
        "limit": drawn.limit,
        "words": drawn.words,
        "about": kind_of(stack, with_modality=False),
        "detector": str(stack.info["detector"]),
    }


def _safe(text: str) -> str:
    return text if isinstance(text, Markup) else printable(text, TEXT_LIMIT)


def patient_of(row: Row) -> str:
    """The patient's ID where it was kept, else the pseudonym."""
    info = row.study.info
    known = info.get("patient_id")
    return f"patient ID {known}" if known else f"patient {info['patient']}" * bool(info["patient"])


def notes_of(row: Row) -> list[str]:
    """What to mind about its result."""
    study, worst = row.study, row.worst
    found = ["provisional threshold"] if worst and worst.info["provisional"] else []
    found += ["stale: by an earlier detector or version"] * study.mark.stale
    return found + [f"files gone since {study.mark.absent[:10]}"] * bool(study.mark.absent)


def flag_of(row: Row) -> str:
    """One of `FLAGS`."""
    return FLAGS[2] if row.rank is None else FLAGS[0 if row.study.flagged else 1]


def kind_of(stack: StackResult, *, with_modality: bool = True) -> str:
    """What a stack shows: modality, body part, sequence, plane, as far as known."""
    info = stack.info
    words = [
        info["modality"] * with_modality,
        str(info["body_part"]).lower(),
        str(info.get("sequence", "")),
        str(info["plane"]),
    ]
    return " ".join(word for word in words if word)


def choices(entries: Iterable[Entry], field: str) -> list[str]:
    """The values of a field that a filter offers."""
    return sorted({entry[field] for entry in entries} - {""})


def number(value: float, digits: int = 3) -> str:
    """A number with fixed precision; a dash for NaN."""
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.{digits}f}"


def day(value: str) -> str:
    """A DICOM date as ISO 8601; anything else as it is."""
    plain = len(value) == 8 and value.isascii() and value.isdigit()
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if plain else value
