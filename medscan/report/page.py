"""results.html: one self-contained page that works from a file share, without any script."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from medscan.archive import REASONS
from medscan.report.colours import Scale
from medscan.report.pictures import data_uri, profile
from medscan.report.text import printable
from medscan.report.worklist import Row, rank
from medscan.results import Results, RunInfo, StackResult, State, replacing

PICTURED = 200
"""Studies from the top of the list that get pictures, so that a page can still be opened."""
LISTED = 500
"""Rows that the tables of files show at most; results.h5 holds all."""
THUMBNAILS = 3
_TEXT_LIMIT = 300
_SPARK, _PROFILE, _ICON = (132, 36), (640, 72), 112

_ORIENTATION = {
    "axial": "The patient's left is on the right, the front at the top.",
    "coronal": "The patient's left is on the right, the head at the top.",
    "sagittal": "The patient's front is on the left, the head at the top.",
}
_MEANINGS = {str(reason): why for reason, (_, why) in REASONS.items()}


def write_html(results: Sequence[Results], path: Path) -> None:
    """Write the worklist as one HTML page: ranked studies, pictures and the accounting of files.

    Everything that came from a file is escaped, made printable and cut; a Content-Security-Policy
    forbids scripts, requests and any style but the page's own.

    Parameters
    ----------
    results : sequence of Results
        Read as one.
    path : Path
        Replaced in one rename.

    Raises
    ------
    DiskError
        It could not be written.
    """
    runs = [r.run() for r in results]
    page = _Page(rank(results), _detectors(runs))
    template = _environment().get_template("worklist.html")
    with replacing(path) as aside, aside.open("w", encoding="utf-8") as stream:
        context = {"page": page, "run": _together(runs), "meanings": _MEANINGS} | _style()
        stream.writelines(template.generate(context))


# --- what the template is given ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector and the scales that its calibration fixes."""

    card: dict[str, Any]
    scale: Scale | None
    low: float
    """Median of its normals' slice scores."""

    @property
    def legend(self) -> Markup | None:
        """The colour bar as a data URI."""
        return data_uri(self.scale.legend()) if self.scale else None


@dataclass(frozen=True, slots=True)
class Picture:
    """A slice, and the same with its heatmap laid over it."""

    plain: Markup
    painted: Markup | None
    number: int
    score: float
    file: str
    frame: int


class _Page:
    """The studies, read one at a time while the page is written."""

    def __init__(self, rows: list[Row], detectors: dict[str, Detector]) -> None:
        self.rows = rows
        self.detectors = detectors
        self.flagged = sum(row.study.flagged for row in rows)
        self.unscored = sum(row.rank is None for row in rows)
        self.pictured = PICTURED

    def detector(self, stack: StackResult) -> Detector | None:
        return self.detectors.get(str(stack.info["detector_hash"]))

    def sparkline(self, stack: StackResult, *, wide: bool = False) -> Markup:
        threshold, known = float(stack.info["threshold"]), self.detector(stack)
        low = known.low if known else np.nan
        if not low < threshold:
            low = float(np.nanmin(stack.slice_score, initial=np.nan_to_num(threshold)))
        return profile(stack.slice_score, threshold, low, _PROFILE if wide else _SPARK)

    def icon(self, row: Row) -> Markup | None:
        """The worst slice with its heatmap, small."""
        if row.rank is None or row.rank > PICTURED or row.worst is None:
            return None
        key = row.worst.key
        stacks = row.results.study(row.study.key).stacks
        stack = next(s for s in stacks if s.key == key)
        if not len(stack.thumbnail):
            return None
        return data_uri(self._painted(stack, 0), _ICON)

    def stacks(self, row: Row) -> list[StackResult]:
        """The study's stacks with all arrays, worst first."""
        pictured = row.rank is not None and row.rank <= PICTURED
        study = row.results.study(row.study.key) if pictured else row.study
        return sorted(study.stacks, key=lambda s: (np.isnan(s.score), -np.nan_to_num(s.score)))

    def pictures(self, stack: StackResult) -> Iterator[Picture]:
        """The top slices."""
        known = self.detector(stack)
        for place, at in enumerate(stack.thumbnail_index[: len(stack.thumbnail)][:THUMBNAILS]):
            painted = self._painted(stack, place) if known and known.scale else None
            yield Picture(
                plain=data_uri(stack.thumbnail[place]),
                painted=None if painted is None else data_uri(painted),
                number=int(at) + 1,
                score=float(stack.slice_score[at]),
                file=stack.path[at],
                frame=int(stack.frame[at]),
            )

    def _painted(self, stack: StackResult, place: int) -> NDArray[np.uint8]:
        known = self.detector(stack)
        plain: NDArray[np.uint8] = stack.thumbnail[place]
        if known is None or known.scale is None:
            return plain
        return known.scale.overlay(plain, stack.heatmap[stack.thumbnail_index[place]])

    @staticmethod
    def no_pictures(row: Row, stack: StackResult) -> str:
        """Why a stack has none."""
        if np.isnan(stack.score):
            return "no slice was scored"
        if row.rank is not None and row.rank > PICTURED:
            return f"only the {PICTURED} worst studies have them"
        return str(stack.info.get("thumbnails", "withheld: may carry burned-in text"))

    @staticmethod
    def states(stack: StackResult) -> str:
        """What became of its slices, in words."""
        found = Counter(stack.state.tolist())
        return ", ".join(f"{found[s]} {s.name.lower()}" for s in State if found[s])

    @staticmethod
    def orientation(stack: StackResult) -> str:
        """Which way round its pictures are; empty when the file does not say."""
        known = stack.info.get("orientation")
        return _ORIENTATION.get(str(stack.info.get("plane")), "") if known else ""


def _detectors(runs: Sequence[RunInfo]) -> dict[str, Detector]:
    found: dict[str, Detector] = {}
    for card in (card for run in runs for card in run.detectors):
        normals = card.get("normals") or [np.nan]
        found.setdefault(
            str(card["hash"]), Detector(card, Scale.of(card), float(np.median(normals)))
        )
    return found


def _together(runs: Sequence[RunInfo]) -> dict[str, Any]:
    """The accounting of several files as one."""
    failures = sorted(f for run in runs for f in run.failures)
    skipped = Counter(reason for run in runs for _, reason in run.skipped)
    return {
        "counts": sum((Counter(run.counts) for run in runs), Counter()),
        "failures": failures[:LISTED],
        "failures_left_out": max(0, len(failures) - LISTED),
        "skipped": sorted(skipped.items(), key=lambda s: (-s[1], s[0])),
        "files": [
            (run.created, run.command, run.version, run.aggregation)
            for run in sorted(runs, key=lambda r: (r.created, r.command))
        ],
    }


# --- how the template shows it -----------------------------------------------------------------


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medscan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "day": _day}
    return environment


def _shown(value: object) -> object:
    """Every value on its way into the page: only what this package made itself passes as it is."""
    return value if isinstance(value, Markup) else printable(str(value), _TEXT_LIMIT)


def _number(value: float, digits: int = 3) -> str:
    return "\N{EN DASH}" if np.isnan(value) else f"{value:.{digits}f}"


def _day(value: str) -> str:
    plain = len(value) == 8 and value.isascii() and value.isdigit()
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if plain else value


def _style() -> dict[str, Markup]:
    """The style sheet, and the policy that allows it and nothing else."""
    css = Path(__file__).with_name("templates").joinpath("worklist.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'"
    return {"css": Markup(css), "policy": Markup(f"{policy}; form-action 'none'")}  # noqa: S704
