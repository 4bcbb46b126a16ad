"""Entries of the index: what a page of thousands of studies holds of each."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from medscan.report.cards import Cards, card_of, profile_of
from medscan.report.pictures import MOST_POINTS
from medscan.report.priors import new_since
from medscan.report.wording import (
    TEXT_LIMIT,
    accession_of,
    compare_with_normals,
    day,
    flag_of,
    kind_of,
    notes_of,
    number,
    patient_of,
    reason_of,
    uid_of,
)
from medscan.report.worklist import Change, Changes, Row
from medscan.results import StackResult
from medscan.text import printable

PROFILE_SIZE = (132, 36)
"""Width and height of a profile in the index."""

FIELDS = (
    "href",
    "icon",
    "rank",
    "name",
    "patient",
    "accession",
    "score",
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
    "uid",
    "link",
    "normals",
    "since",
)
"""Fields of an entry; the template and the script use the same names for a row's cells."""

IndexEntry = dict[str, str]


def index_entry(
    row: Row,
    cards: Cards,
    changes: Changes | None,
    *,
    href: str,
    icon: str,
    link: str = "",
    verdict: str = "",
) -> IndexEntry:
    """A study as texts that are safe to show, by the names of `FIELDS`.

    Parameters
    ----------
    row : Row
    cards : dict
    changes : Changes or None
    href, icon : str
        Addresses of its page and of its picture; empty for none.
    link : str
        Its address in another program; empty for none.
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
        "accession": f"accession {accession_of(row)}" * bool(accession_of(row)),
        "score": number(row.score),
        "flag": flag_of(row),
        "reason": reason_of(row),
        "modality": str(info.get("modality") or ""),
        "date": day(str(info.get("date") or "")),
        "series": str(row.series),
        "slices": str(row.slices),
        "change": change,
        "changed": str(changed),
        "verdict": verdict,
        "key": row.study.key,
        "note": "; ".join(notes_of(row)),
        "since": f"new since {since}" if (since := new_since(row)) else "",
        "uid": uid_of(row),
        "link": link,
        "ids": f"{row.study.key} {info.get('StudyInstanceUID', '')}",
    }
    if row.worst is not None:
        texts |= _describe_worst(row.worst, cards)
        texts["normals"] = compare_with_normals(row.place.study)
    return {field: _safe(texts.get(field, "")) for field in FIELDS}


def blank_entry() -> IndexEntry:
    """An entry without texts, for the script to fill."""
    return dict.fromkeys(FIELDS, "")


def _describe_worst(stack: StackResult, cards: Cards) -> dict[str, str]:
    card = card_of(stack, cards)
    plot = profile_of(stack, card, PROFILE_SIZE, MOST_POINTS)
    return {
        "line": plot.line,
        "hot": plot.hot,
        "limit": plot.limit,
        "words": plot.words,
        "about": kind_of(stack, with_modality=False),
        "detector": str(stack.info["detector"]),
    }


def _safe(text: str) -> str:
    return text if isinstance(text, Markup) else printable(text, TEXT_LIMIT)


def choices(entries: Iterable[IndexEntry], field: str) -> list[str]:
    """The values of a field that a filter offers."""
    return sorted({entry[field] for entry in entries} - {""})
