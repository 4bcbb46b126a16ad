"""A study's page: its series with every slice, and why the others were left out."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.report.cards import Card, Cards, card_of, profile_of
from medscan.report.colours import Scale
from medscan.report.entries import kind_of
from medscan.report.orientation import Marks, marks_of
from medscan.report.pictures import Profile
from medscan.report.worklist import Row
from medscan.results import StackResult, State, StudyResult
from medscan.text import printable

PROFILE = (960, 96)
KEYS = 3
"""Slices with the highest scores that a page shows small."""

_ORIENTATION = {
    "axial": "The patient's left is on the right, the front at the top.",
    "coronal": "The patient's left is on the right, the head at the top.",
    "sagittal": "The patient's front is on the left, the head at the top.",
}

Addresses = Mapping[int, str]
"""Pictures of a stack by the place of their slice."""


@dataclass(frozen=True, slots=True)
class Key:
    """One of the slices with the highest scores that there are pictures of.

    Parameters
    ----------
    at : int
        Its place among those of the viewer.
    number : int
        Its place in the stack, from 1.
    score : float
    picture : str
        Address.
    """

    at: int
    number: int
    score: float
    picture: str


@dataclass(frozen=True, slots=True)
class StackView:
    """A stack as its part of the page shows it.

    Parameters
    ----------
    stack : StackResult
    card : Card or None
        Its detector, where the file names it.
    title : str
    profile : Profile
    slices : dict
        What the viewer of the script is given, for JSON.
    keys : list of Key
        Worst first.
    marks : Marks
        Letters of the patient's directions, and a length in millimetres.
    failed : list of (int, str, str)
        Number, file and message of each slice that could not be used.
    no_pictures : str
        Why there are none; empty where there are.
    states, orientation, spacing : str
        What became of its slices, how they lie on the screen and how far apart, in words.
    """

    stack: StackResult
    card: Card | None
    title: str
    profile: Profile
    slices: dict[str, Any]
    keys: list[Key]
    marks: Marks
    failed: list[tuple[int, str, str]]
    no_pictures: str
    states: str
    orientation: str
    spacing: str


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study as its page shows it: its row in the worklist, and its stacks, worst first."""

    row: Row
    stacks: list[StackView]
    before: str = ""
    """Address of the study before it in the list; empty for none."""
    after: str = ""
    change: str = ""
    """What became of it since older results."""
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    verdicts: Sequence[str] = ()
    """A radiologist's on it and its parts, in words."""
    key: str = ""
    """By which verdicts name it; empty where that is no plain name."""


def view_of(
    study: StudyResult,
    cards: Cards,
    pictures: Mapping[str, Addresses],
    failures: Mapping[str, str],
    *,
    every: bool,
) -> list[StackView]:
    """The stacks of a study, worst first.

    Parameters
    ----------
    study : StudyResult
        With all arrays.
    cards : dict
    pictures : dict
        For each stack's key its pictures.
    failures : dict
        Message by path of file.
    every : bool
        Put all slices into the viewer, else those with a picture.
    """
    ordered = sorted(study.stacks, key=lambda s: (np.isnan(s.score), -np.nan_to_num(s.score)))
    return [
        _stack_view(s, card_of(s, cards), pictures.get(s.key, {}), failures, every=every)
        for s in ordered
    ]


def _stack_view(
    stack: StackResult,
    card: Card | None,
    pictures: Addresses,
    failures: Mapping[str, str],
    *,
    every: bool,
) -> StackView:
    shown = list(range(len(stack.state))) if every else sorted(pictures)
    return StackView(
        stack=stack,
        card=card,
        title=kind_of(stack) or "Series",
        profile=profile_of(stack, card, PROFILE),
        slices=_slices(stack, card.scale if card else None, pictures, shown),
        keys=_keys(stack, pictures, shown),
        marks=marks_of(stack),
        failed=[
            (at + 1, stack.path[at], failures.get(stack.path[at], "could not be used"))
            for at in np.flatnonzero(stack.state == State.FAILED).tolist()
        ],
        no_pictures="" if pictures else _no_pictures(stack),
        states=_states(stack),
        orientation=_ORIENTATION.get(str(stack.info["plane"]), "")
        * bool(stack.info["orientation"]),
        spacing=_spacing(stack),
    )


def _no_pictures(stack: StackResult) -> str:
    if np.isnan(stack.score):
        return "no slice was scored"
    why = str(stack.info.get("thumbnails", "withheld: may carry burned-in text"))
    return "not made" if why == "kept" else why


def _states(stack: StackResult) -> str:
    """What became of its slices, in words."""
    found = Counter(stack.state.tolist())
    return ", ".join(f"{found[s]} {s.name.lower()}" for s in State if found[s])


def _spacing(stack: StackResult) -> str:
    """Pixel and slice spacing in words, as far as known."""
    pixel, between = stack.info["pixel_spacing"], float(stack.info["slice_spacing"])
    words = [f"pixels {pixel[0]:.3g} × {pixel[1]:.3g} mm"] if pixel else []  # noqa: RUF001
    if not np.isnan(between):
        words.append(f"slices {between:.3g} mm apart")
    return ", ".join(words) or "spacing unknown"


def _keys(stack: StackResult, pictures: Addresses, shown: Sequence[int]) -> list[Key]:
    known = [at for at in pictures if stack.state[at] == State.SCORED]
    worst = sorted(known, key=lambda at: (-stack.slice_score[at], at))[:KEYS]
    return [
        Key(
            shown.index(at),
            at + 1,
            float(stack.slice_score[at]),
            pictures[at],
        )
        for at in worst
    ]


# --- what the script is given --------------------------------------------------------------------


def _slices(
    stack: StackResult, scale: Scale | None, pictures: Addresses, shown: Sequence[int]
) -> dict[str, Any]:
    """Slices of the viewer in their order.

    `maps` are the heatmaps as base64 of little-endian uint16 (k, G, G), 0 to 65535 from `low` to
    `high`; `scale` holds the patch scores at the ends of the colour scale and at its middle, the
    threshold for patches.
    """
    low, high, maps = _packed(stack.heatmap[list(shown)])
    return {
        "stack": stack.key,
        "of": len(stack.state),
        "threshold": _finite(float(stack.info["slice_threshold"])),
        "numbers": [at + 1 for at in shown],
        "scores": [_finite(float(stack.slice_score[at])) for at in shown],
        "states": [State(stack.state[at]).name.lower() for at in shown],
        "files": [printable(_file(stack, at), 120) for at in shown],
        "pictures": [pictures.get(at, "") for at in shown],
        "scale": [scale.low, scale.middle, scale.high] if scale else None,
        "grid": stack.heatmap.shape[-1],
        "low": low,
        "high": high,
        "maps": maps if scale else "",
    }


def _file(stack: StackResult, at: int) -> str:
    frame = int(stack.frame[at])
    return f"{stack.path[at]}, frame {frame + 1}" if frame else stack.path[at]


def _packed(heatmaps: NDArray[np.float16]) -> tuple[float, float, str]:
    values = heatmaps.astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    steps = np.rint((values - low) / (high - low or 1) * 65535).astype("<u2")
    return low, high, base64.b64encode(steps.tobytes()).decode()


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
