"""What a report shows, whichever form it takes: rows of the index, studies, the run."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.archive import Pseudonyms
from medscan.report.agreement import agreement, words_of
from medscan.report.cards import card_of, cards_of
from medscan.report.decisions import Decisions
from medscan.report.entries import (
    FIELDS,
    Entry,
    blank,
    choices,
    day,
    entry,
    notes_of,
    patient_of,
)
from medscan.report.pictures import jpeg
from medscan.report.run import messages, run_view
from medscan.report.study import StudyView, view_of
from medscan.report.worklist import Change, Row, compare, featured, rank, worst_slice
from medscan.results import Results, StackResult, StudyResult

FEATURED = 200
"""Studies that are embedded in a single page, or drawn from the archive, unless told otherwise."""
ROWS = 50
"""Of the index that are shown at a time."""
ICON = 112
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Put = Callable[[str, str, bytes], str]
"""`put(folder, name, JPEG)` keeps a picture of a study and gives its address."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report shows.

    Parameters
    ----------
    most : int or None
        Studies that are embedded in a single page, or drawn from the archive: flagged ones first,
        then by rank. None: all.
    archives : tuple of Path
        Where pictures of all slices are drawn from; without, those in the results are shown.
    old : Results or None
        To compare with.
    workers : int
        Processes that decode.
    keys : tuple of Pseudonyms or None
        What the files of the archives are named by in the results.
    decisions : Decisions or None
        What a radiologist says of the studies.
    """

    most: int | None = FEATURED
    archives: tuple[Path, ...] = ()
    old: Results | None = None
    workers: int = 1
    keys: tuple[Pseudonyms | None, ...] = (None,)
    decisions: Decisions | None = None


DEFAULT = ReportOptions()


class Report:
    """Results read as one, ready to be written."""

    def __init__(self, results: Sequence[Results], options: ReportOptions) -> None:
        runs = [file.run() for file in results]
        self.options = options
        self.rows = rank(results)
        self.cards = cards_of(runs)
        self.changes = compare(self.rows, options.old) if options.old else None
        self.run = run_view(runs, self.rows, self.cards)
        written = "\n".join(sorted({run.created for run in runs}))
        self.name = hashlib.sha256(written.encode()).hexdigest()[:12]
        judged = options.decisions
        self.agreement = agreement(self.rows, judged) if judged else None
        self.featured = featured(self.rows, options.most)
        self._messages = messages(runs)
        self._drawn: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)

    def draw(self, put: Put, most: int | None = None) -> int:
        """Keep pictures of the slices of the featured studies that the archives hold; how many.

        Of each stack the `most` slices with the highest scores; None: all.
        """
        if not self.options.archives:
            return 0
        from medscan.report.source import draw_slices  # decoding is a scan's business: only now

        def keep(study: str, stack: str, at: int, picture: NDArray[np.uint8]) -> None:
            address = put(safe_name(study), picture_name(stack, at), jpeg(picture))
            self._drawn[study, stack][at] = address

        wanted = [row for row in self.rows if row.study.key in self.featured]
        return draw_slices(self.options, wanted, self.cards, keep, most)

    def pictures(self, study: StudyResult, put: Put) -> dict[str, dict[int, str]]:
        """Addresses of a study's pictures by stack and place: drawn ones, else thumbnails."""
        return {stack.key: self._pictures(study.key, stack, put) for stack in study.stacks}

    def _pictures(self, key: str, stack: StackResult, put: Put) -> dict[int, str]:
        kept = zip(stack.thumbnail_index.tolist(), stack.thumbnail, strict=False)
        drawn = self._drawn.get((key, stack.key), {})
        return drawn | {
            at: put(safe_name(key), picture_name(stack.key, at), jpeg(picture))
            for at, picture in kept
            if at not in drawn
        }

    def icon(self, row: Row, study: StudyResult, put: Put) -> str:
        """Address of the worst slice, small with its heatmap where the results hold a picture.

        Else as it was drawn from the archive; empty where there is neither.
        """
        worst = next((s for s in study.stacks if row.worst and s.key == row.worst.key), None)
        if worst is None:
            return ""
        if not len(worst.thumbnail):
            return self._drawn.get((study.key, worst.key), {}).get(worst_slice(worst), "")
        card = card_of(worst, self.cards)
        picture: NDArray[np.uint8] = worst.thumbnail[0]
        if card and card.scale:
            picture = card.scale.overlay(picture, worst.heatmap[worst.thumbnail_index[0]])
        return put(safe_name(study.key), "icon.jpg", jpeg(picture, ICON))

    def view(self, place: int, study: StudyResult, put: Put, *, every: bool) -> StudyView:
        """A study for its page, and its neighbours in the list."""
        row = self.rows[place]
        before, after = (
            page_name(self.rows[p].study.key) if 0 <= p < len(self.rows) else ""
            for p in (place - 1, place + 1)
        )
        pictures = self.pictures(study, put)
        stacks = view_of(study, self.cards, pictures, self._messages, every=every)
        change = self.changes.by_key[study.key][1] if self.changes else ""
        judged = self.options.decisions
        return StudyView(
            row,
            stacks,
            before,
            after,
            change,
            notes_of(row),
            list(_facts(row)),
            list(words_of(study.key, judged)) if judged else [],
            study.key if _SAFE.fullmatch(study.key) else "",
        )

    def entry(self, row: Row, href: str, icon: str) -> Entry:
        """A study for the index."""
        judged = self.options.decisions
        word = judged.word(row.study.key) if judged else None
        return entry(row, self.cards, self.changes, href=href, icon=icon, verdict=word or "")

    def index(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """What the template of the index is given."""
        return {
            "first": entries[:ROWS],
            "blank": blank(),
            "data": {
                "fields": FIELDS,
                "rows": [list(e.values()) for e in entries],
                "page": ROWS,
            },
            "total": len(entries),
            "flagged": sum(row.study.flagged for row in self.rows),
            "unscored": sum(row.rank is None for row in self.rows),
            "choices": {field: choices(entries, field) for field in ("modality", "detector")},
            "changes": self.changes,
            "kinds": [c for c in Change if c is not Change.SAME],
            "run": self.run,
            "agreement": self.agreement,
            "report": self.name,
        }


def safe_name(key: str) -> str:
    """A key as the name of a file; what is no plain name becomes a hash."""
    if _SAFE.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def page_name(key: str) -> str:
    """Name of a study's page."""
    return f"{safe_name(key)}.html"


def picture_name(stack: str, at: int) -> str:
    """Name of a slice's picture."""
    return f"{safe_name(stack)}-{at + 1:04d}.jpg"


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    info = row.study.info
    yield "StudyInstanceUID", str(info.get("StudyInstanceUID") or "")
    yield "Key", row.study.key
    yield "Path", str(info.get("path") or "")
    yield "Patient", patient_of(row).removeprefix("patient ")
    yield "Date", day(str(info.get("date") or ""))
    yield "Modality", str(info.get("modality") or "")
