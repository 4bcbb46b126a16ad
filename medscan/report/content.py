"""What a report shows in either form: entries of the index, studies, the run."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.imaging import Packed
from medscan.links import link_to
from medscan.report.agreement import agreement, verdicts_of
from medscan.report.beside import Beside, beside_of, earlier_slices
from medscan.report.cards import card_of, cards_of
from medscan.report.earlier import EarlierView, LastView, earlier_view, last_view
from medscan.report.entries import FIELDS, IndexEntry, blank_entry, choices, index_entry
from medscan.report.options import ReportOptions
from medscan.report.pictures import jpeg, source_id
from medscan.report.pixels import full_slices, highest, pixel_script
from medscan.report.priors import new_since
from medscan.report.run import failure_messages, run_view
from medscan.report.slices import Addresses
from medscan.report.source import Drawn, draw_slices
from medscan.report.study import StudyView, views_of
from medscan.report.wording import (
    accession_of,
    compare_with_normals,
    day,
    notes_of,
    patient_of,
    uid_of,
)
from medscan.report.worklist import Change, Row, compare, featured, rank, worst_slice
from medscan.results import Results, StackResult, StudyResult

ROWS = 50
"""Rows of the index that are shown at a time."""
ICON = 112
"""Side of a study's icon in pixels."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Put = Callable[[str, str, bytes], str]
"""`put(folder, name, data)` keeps a picture of a study and gives its address."""
Recall = Callable[[str, str, str], str]
"""`recall(folder, name, source id)` gives the address of a kept picture; empty without one."""


LastStudies = tuple[dict[str, Beside], dict[str, StudyResult]]
"""The last earlier study beside each stack, by the stack's key; and these studies with all arrays,
by their own."""


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
        decisions = options.decisions
        self.agreement = agreement(self.rows, decisions) if decisions else None
        self.featured = featured(self.rows, options.most)
        self._templates = {
            file.path: run.link_template for file, run in zip(results, runs, strict=True)
        }
        self._failures = failure_messages(runs)
        self._drawn: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
        """Addresses of the pictures drawn from the archive: by study and stack, then slice."""
        self._full: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
        """The same of slices at their own resolution."""

    def draw_from_archive(self, put: Put, most: int | None = None) -> Drawn:
        """Draw the slices of the featured studies that the archives hold.

        Parameters
        ----------
        put : callable
        most : int, optional
            Slices of a stack, those with the highest scores; None: all.
        """
        if not self.options.archives:
            return Drawn()
        rows = [row for row in self.rows if row.study.key in self.featured]
        earlier = earlier_slices(
            rows, lambda s: full_slices(s, self.options.full) if most is None else highest(s, most)
        )
        ids = {
            (row.study.key, stack.key): source_id(stack, self.options.window_of(stack))
            for row in (*rows, *earlier.rows)
            for stack in row.study.stacks
        }

        def keep(
            study: str,
            stack: str,
            slice_index: int,
            picture: NDArray[np.uint8],
            packed: Packed | None,
        ) -> None:
            source, folder = ids[study, stack], safe_name(study)
            name, data = picture_name(stack, slice_index), jpeg(picture, source=source)
            self._drawn[study, stack][slice_index] = put(folder, name, data)
            if packed:
                name, data = picture_name(stack, slice_index, "js"), pixel_script(packed, source)
                self._full[study, stack][slice_index] = put(folder, name, data)

        return draw_slices(self.options, rows, self.cards, keep, most, earlier)

    def keep_drawn(self, study: StudyResult, earlier: Set[str], recall: Recall) -> None:
        """Use the slices of a study that an earlier report drew from the same files.

        Parameters
        ----------
        study : StudyResult
        earlier : set of str
            Names of the pictures that the study's folder holds.
        recall : callable
        """
        for stack, kind in product(study.stacks, ("jpg", "js")):
            drawn = (self._drawn if kind == "jpg" else self._full)[study.key, stack.key]
            missing = set(range(len(stack.state))) - drawn.keys()
            slices = {picture_name(stack.key, n, kind): n for n in missing}
            if kept := sorted(slices.keys() & earlier):
                source = source_id(stack, self.options.window_of(stack))
                addresses = ((name, recall(safe_name(study.key), name, source)) for name in kept)
                drawn |= {slices[name]: address for name, address in addresses if address}

    def pictures(self, study: StudyResult, put: Put) -> dict[str, dict[int, str]]:
        """Addresses of a study's pictures by stack and slice index.

        Those drawn from the archive, and thumbnails of the other slices.
        """
        return {stack.key: self._pictures(study.key, stack, put) for stack in study.stacks}

    def _pictures(
        self, key: str, stack: StackResult, put: Put, wanted: Set[int] | None = None
    ) -> dict[int, str]:
        """Addresses of a stack's pictures, only of the slices that are wanted; None: of all."""
        thumbnails = zip(stack.thumbnail_index.tolist(), stack.thumbnail, strict=False)
        drawn = self._drawn.get((key, stack.key), {})
        return drawn | {
            slice_index: put(safe_name(key), picture_name(stack.key, slice_index), jpeg(picture))
            for slice_index, picture in thumbnails
            if slice_index not in drawn and (wanted is None or slice_index in wanted)
        }

    def icon(self, row: Row, study: StudyResult, put: Put) -> str:
        """Address of a small picture of the worst slice, its heatmap laid over its thumbnail.

        Without a thumbnail, the slice as it was drawn from the archive; empty if it was not.
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

    def last_studies(self, row: Row) -> LastStudies:
        """Read the last earlier study of each stack of a study."""
        besides = beside_of(row)
        rows = {b.prior.row.study.key: b.prior.row for b in besides.values()}
        return besides, {key: row.results.with_arrays(row.study) for key, row in rows.items()}

    def view(
        self, index: int, study: StudyResult, last: LastStudies, put: Put, *, every: bool
    ) -> StudyView:
        """A study for its page, and its neighbours in the list.

        Parameters
        ----------
        index : int
            Index of its row.
        study : StudyResult
            The same study with all arrays.
        last : LastStudies
        put : callable
        every : bool
            Put all slices into the viewer, else only those with a picture.
        """
        row, decisions = self.rows[index], self.options.decisions
        pictures = self.pictures(study, put)
        full = {stack.key: self._full.get((study.key, stack.key), {}) for stack in study.stacks}
        return StudyView(
            row=row,
            stacks=views_of(
                study,
                row.place,
                self.cards,
                pictures,
                self._failures,
                every=every,
                full=full,
                found=row.regions,
            ),
            earlier=self._earlier(row, pictures, last, put, every=every),
            since=new_since(row),
            normals=compare_with_normals(row.place.study),
            before=self._page_at(index - 1),
            after=self._page_at(index + 1),
            change=self.changes.by_key[study.key][1] if self.changes else "",
            notes=[*notes_of(row), *self._window_notes(study)],
            facts=list(_facts(row)),
            verdicts=list(verdicts_of(study.key, decisions)) if decisions else [],
            accession=accession_of(row),
            uid=uid_of(row),
            link=self.link(row),
            key=study.key if _SAFE.fullmatch(study.key) else "",
        )

    def _earlier(
        self,
        row: Row,
        pictures: Mapping[str, Addresses],
        last: LastStudies,
        put: Put,
        *,
        every: bool,
    ) -> dict[str, EarlierView]:
        """What earlier studies have that compares with each stack of a study, by its key."""
        besides, studies = last

        def page_of(other: Row) -> str:
            key = other.study.key
            return page_name(key) if every else anchor(key) * (key in self.featured)

        def last_of(stack: StackResult) -> LastView | None:
            found = besides.get(stack.key)
            shown = range(len(stack.state)) if every else sorted(pictures.get(stack.key, {}))
            if found is None or not shown:
                return None
            study, key = studies[found.key[0]], found.key
            then = next(s for s in study.stacks if s.key == key[1])
            wanted = {int(found.nearest[index]) for index in shown}
            addresses = self._pictures(key[0], then, put, wanted), self._full.get(key, {})
            card = card_of(then, self.cards)
            return last_view(found, then, card, addresses, shown, page_of(found.prior.row))

        views = {s.key: earlier_view(row, s, page_of, last_of(s)) for s in row.study.stacks}
        return {key: view for key, view in views.items() if view}

    def _page_at(self, index: int) -> str:
        """Address of the page of a row's study; empty beyond the ends of the list."""
        inside = 0 <= index < len(self.rows)
        return page_name(self.rows[index].study.key) if inside else ""

    def entry(self, row: Row, href: str, icon: str) -> IndexEntry:
        """A study's entry in the index."""
        decisions = self.options.decisions
        verdict = decisions.verdict(row.study.key) if decisions else None
        return index_entry(
            row,
            self.cards,
            self.changes,
            href=href,
            icon=icon,
            link=self.link(row),
            verdict=verdict or "",
        )

    def _window_notes(self, study: StudyResult) -> list[str]:
        """Say which slices are not drawn as their detector saw them."""
        drawn = [s for s in study.stacks if self._drawn.get((study.key, s.key))]
        rules = {str(s.info["modality"]): self.options.window_of(s) for s in drawn}
        return [
            f"slices of {modality} drawn by {rule}, not as the detector saw them"
            for modality, rule in sorted(rules.items())
            if rule
        ]

    def link(self, row: Row) -> str:
        """Address of a study in another program; empty without a template or a valid UID."""
        named, uid = self.options.link_template, uid_of(row)
        template = self._templates[row.results.path] if named is None else named
        return link_to(uid, template) if uid else ""

    def index(self, entries: Sequence[IndexEntry]) -> dict[str, Any]:
        """The context of the index's template."""
        return {
            "first": entries[:ROWS],
            "blank": blank_entry(),
            "data": {
                "fields": FIELDS,
                "rows": [list(entry.values()) for entry in entries],
                "page": ROWS,
            },
            "total": len(entries),
            "flagged": sum(row.study.flagged for row in self.rows),
            "uncertain": sum(row.study.uncertain for row in self.rows),
            "unlike": sum(row.study.unlike for row in self.rows),
            "unscored": Counter(row.why_unscored for row in self.rows if row.rank is None),
            "kept": sum(bool(row.kept) for row in self.rows),
            "choices": {field: choices(entries, field) for field in ("modality", "detector")},
            "changes": self.changes,
            "kinds": [change for change in Change if change is not Change.SAME],
            "run": self.run,
            "agreement": self.agreement,
            "report": self.name,
        }


def safe_name(key: str) -> str:
    """Use a key as the name of a file; hash it unless it is a plain name."""
    if _SAFE.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def anchor(key: str) -> str:
    """Address of a study in a page that holds everything."""
    return f"#study-{safe_name(key)}"


def page_name(key: str) -> str:
    """Name of a study's page."""
    return f"{safe_name(key)}.html"


def picture_name(stack: str, slice_index: int, kind: str = "jpg") -> str:
    """Name of a slice's picture, or with "js" of its own pixels."""
    return f"{safe_name(stack)}-{slice_index + 1:04d}.{kind}"


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    info = row.study.info
    if not uid_of(row):  # else it stands at the top
        yield "StudyInstanceUID", str(info.get("StudyInstanceUID") or "")
    yield "Key", row.study.key
    yield "Path", str(info.get("path") or "")
    yield "Patient", patient_of(row).removeprefix("patient ")
    if person := " ".join(filter(None, (str(info.get(name) or "") for name in ("age", "sex")))):
        yield "Age and sex", person
    yield "Date", day(str(info.get("date") or ""))
    yield "Modality", str(info.get("modality") or "")
