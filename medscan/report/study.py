"""A study's page: its series with every slice, and why others were left out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.report.cards import Card, Cards, card_of, profile_of
from medscan.report.colours import Scale
from medscan.report.orientation import PaneMarks, pane_marks
from medscan.report.pictures import Profile
from medscan.report.placing import placing, side_mm
from medscan.report.regions import regions_of
from medscan.report.standing import Place
from medscan.report.wording import (
    RegionWords,
    compare_with_normals,
    kept_note,
    kind_of,
    region_words,
    states_of,
    unlike_note,
)
from medscan.report.worklist import Row
from medscan.results import StackResult, State, StudyResult
from medscan.text import printable

PROFILE_SIZE = (960, 96)
"""Width and height of a profile on a study's page."""
KEY_SLICES = 3
"""Slices with the highest scores that a page shows small."""

_ORIENTATION = {
    "axial": "The patient's left is on the right, the front at the top.",
    "coronal": "The patient's left is on the right, the head at the top.",
    "sagittal": "The patient's front is on the left, the head at the top.",
}

Addresses = Mapping[int, str]
"""Addresses of a stack's pictures by slice index."""


@dataclass(frozen=True, slots=True)
class KeySlice:
    """One of the pictured slices with the highest scores.

    Parameters
    ----------
    position : int
        Index among the slices of the viewer.
    number : int
        Number in the stack, from 1.
    score : float
    picture : str
        Address.
    """

    position: int
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
        Its detector; None if the file does not describe it.
    title : str
    normals : str
        Comparison with the normals, in words.
    profile : Profile
    slices : dict
        Data of the script's viewer, for JSON.
    key_slices : list of KeySlice
        Highest score first.
    marks : PaneMarks
        Letters of the patient's directions, and a length in millimetres.
    failed : list of (int, str, str)
        Number, file and message of each slice that could not be used.
    no_pictures : str
        Why it has no pictures; empty if it has.
    states, orientation, spacing : str
        Counts of its slices by state, their orientation on the screen, and distances, in words.
    regions : list of RegionWords
        Regions of its maps above the detector's threshold for patches, highest score first.
    patch_mm : float or None
        Side of a patch in millimetres, if known.
    kept : str
        That its score is kept from an earlier scan, in words; empty if it is not.
    unlike : str
        Why it is unlike what its detector was fitted on, in words; empty if it is not.
    """

    stack: StackResult
    card: Card | None
    title: str
    normals: str
    profile: Profile
    slices: dict[str, Any]
    key_slices: list[KeySlice]
    marks: PaneMarks
    failed: list[tuple[int, str, str]]
    no_pictures: str
    states: str
    orientation: str
    spacing: str
    regions: list[RegionWords]
    patch_mm: float | None
    kept: str
    unlike: str


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study as its page shows it.

    Parameters
    ----------
    row : Row
        Of the worklist.
    stacks : list of StackView
        Most abnormal first.
    normals : str
        Comparison with the normals, in words.
    before, after : str
        Addresses of its neighbours in the list; empty for none.
    change : str
        Change since older results, in words.
    notes : list of str
        Reasons to read its result with care.
    facts : list of (str, str)
        Terms and values.
    verdicts : list of str
        A radiologist's, on the study and its parts, in words.
    accession, uid : str
        See `wording.accession_of` and `wording.uid_of`.
    link : str
        Its address in another program; empty for none.
    key : str
        Key by which saved verdicts name it; empty unless it is a plain name.
    """

    row: Row
    stacks: list[StackView]
    normals: str
    before: str
    after: str
    change: str
    notes: Sequence[str]
    facts: Sequence[tuple[str, str]]
    verdicts: Sequence[str]
    accession: str
    uid: str
    link: str
    key: str


def views_of(
    study: StudyResult,
    place: Place,
    cards: Cards,
    pictures: Mapping[str, Addresses],
    failures: Mapping[str, str],
    *,
    every: bool,
    full: Mapping[str, Addresses] | None = None,
) -> list[StackView]:
    """The stacks of a study, most abnormal first.

    Parameters
    ----------
    study : StudyResult
        With all arrays.
    place : Place
    cards : dict
    pictures : dict
        Addresses of pictures by key of the stack.
    failures : dict
        Messages by path of the file.
    every : bool
        Put all slices into the viewer, else only those with a picture.
    full : dict, optional
        Addresses of slices at their own resolution by key of the stack.
    """
    full = full or {}
    return [
        _stack_view(
            study,
            s,
            place,
            card_of(s, cards),
            (pictures.get(s.key, {}), full.get(s.key, {})),
            failures,
            every=every,
        )
        for s in place.sorted(study.stacks)
    ]


def _stack_view(
    study: StudyResult,
    stack: StackResult,
    place: Place,
    card: Card | None,
    addresses: tuple[Addresses, Addresses],
    failures: Mapping[str, str],
    *,
    every: bool,
) -> StackView:
    pictures, full = addresses
    scale, side = card.scale if card else None, side_mm(stack)
    shown = list(range(len(stack.state))) if every else sorted(pictures)
    when = study.kept_from(stack)
    return StackView(
        stack=stack,
        card=card,
        title=kind_of(stack) or "Series",
        normals=compare_with_normals(place.of(stack), "series"),
        profile=profile_of(stack, card, PROFILE_SIZE),
        slices=_slices(stack, scale, pictures, full, shown),
        key_slices=_key_slices(stack, pictures, shown),
        marks=pane_marks(stack),
        failed=[
            (index + 1, stack.path[index], failures.get(stack.path[index], "could not be used"))
            for index in np.flatnonzero(stack.state == State.FAILED).tolist()
        ],
        no_pictures="" if pictures else _no_pictures(stack),
        states=states_of(stack),
        orientation=_ORIENTATION.get(str(stack.info["plane"]), "")
        * bool(stack.info["orientation"]),
        spacing=_spacing(stack),
        regions=[region_words(r) for r in regions_of(stack, scale.middle)] if scale else [],
        patch_mm=side / stack.heatmap.shape[-1] if side else None,
        kept=kept_note(str(stack.info["detector"]), when) if when else "",
        unlike=unlike_note(stack),
    )


def _no_pictures(stack: StackResult) -> str:
    if np.isnan(stack.score):
        return "no slice was scored"
    why = str(stack.info.get("thumbnails", "withheld: may carry burned-in text"))
    return "not made" if why == "kept" else why


def _spacing(stack: StackResult) -> str:
    """Pixel and slice spacing in words, as far as they are known."""
    pixel, between = stack.info["pixel_spacing"], float(stack.info["slice_spacing"])
    words = [f"pixels {pixel[0]:.3g} × {pixel[1]:.3g} mm"] if pixel else []  # noqa: RUF001
    if not np.isnan(between):
        words.append(f"slices {between:.3g} mm apart")
    return ", ".join(words) or "spacing unknown"


def _key_slices(stack: StackResult, pictures: Addresses, shown: Sequence[int]) -> list[KeySlice]:
    scored = [index for index in pictures if stack.state[index] == State.SCORED]
    worst = sorted(scored, key=lambda index: (-stack.slice_score[index], index))[:KEY_SLICES]
    return [
        KeySlice(shown.index(index), index + 1, float(stack.slice_score[index]), pictures[index])
        for index in worst
    ]


# --- data of the script's viewer -----------------------------------------------------------------


def _slices(
    stack: StackResult,
    scale: Scale | None,
    pictures: Addresses,
    full: Addresses,
    shown: Sequence[int],
) -> dict[str, Any]:
    """Slices of the viewer in their order, as lists by name of field.

    `maps` are the heatmaps as base64 of little-endian uint16 (k, G, G), 0 to 65535 from `low` to
    `high`; `scale` holds the patch scores at the ends of the colour scale and at its middle, the
    threshold for patches; `full` are addresses of scripts, see `pixel_script`.
    """
    low, high, maps = _pack(stack.heatmap[list(shown)])
    return {
        "stack": stack.key,
        "of": len(stack.state),
        "threshold": _finite(float(stack.info["slice_threshold"])),
        "numbers": [index + 1 for index in shown],
        "scores": [_finite(float(stack.slice_score[index])) for index in shown],
        "states": [State(stack.state[index]).name.lower() for index in shown],
        "files": [printable(_file(stack, index), 120) for index in shown],
        "pictures": [pictures.get(index, "") for index in shown],
        "full": [full.get(index, "") for index in shown],
        "place": placing(stack, shown),
        "scale": [scale.low, scale.middle, scale.high] if scale else None,
        "grid": stack.heatmap.shape[-1],
        "low": low,
        "high": high,
        "maps": maps if scale else "",
    }


def _file(stack: StackResult, slice_index: int) -> str:
    path, frame = stack.path[slice_index], int(stack.frame[slice_index])
    return f"{path}, frame {frame + 1}" if frame else path


def _pack(heatmaps: NDArray[np.float16]) -> tuple[float, float, str]:
    """Lowest and highest score, and the maps in 16-bit steps between them."""
    values = heatmaps.astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    steps = np.rint((values - low) / (high - low or 1) * 65535).astype("<u2")
    return low, high, base64.b64encode(steps.tobytes()).decode()


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
