"""A study's page: its series with every slice, and why others were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medscan.report.cards import Card, Cards, card_of, profile_of
from medscan.report.earlier import EarlierViews
from medscan.report.orientation import PaneMarks, pane_marks
from medscan.report.pictures import Profile
from medscan.report.placing import side_mm
from medscan.report.planes import OtherPlanes, other_planes
from medscan.report.regions import Regions, measured
from medscan.report.slices import Addresses, viewer_slices
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

PROFILE_SIZE = (960, 96)
"""Width and height of a profile on a study's page."""
KEY_SLICES = 3
"""Slices with the highest scores that a page shows small."""

_ORIENTATION = {
    "axial": "The patient's left is on the right, the front at the top.",
    "coronal": "The patient's left is on the right, the head at the top.",
    "sagittal": "The patient's front is on the left, the head at the top.",
}


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
    planes : OtherPlanes
        The planes across its slices.
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
    planes: OtherPlanes
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
    earlier : dict
        What earlier studies of the patient have that compares with a stack, by its key.
    since : str
        Day since which what it is flagged for is new; empty if it is not, or not known to be.
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
    earlier: EarlierViews
    since: str
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
    found: Regions | None = None,
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
    found : dict, optional
        Regions that are measured already; others are added.
    """
    full, found = full or {}, {} if found is None else found
    return [
        _stack_view(
            study,
            s,
            place,
            card_of(s, cards),
            (pictures.get(s.key, {}), full.get(s.key, {})),
            failures,
            found,
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
    found: Regions,
    *,
    every: bool,
) -> StackView:
    pictures, full = addresses
    scale, side = card.scale if card else None, side_mm(stack)
    shown = list(range(len(stack.state))) if every else sorted(pictures)
    when, planes = study.kept_from(stack), other_planes(stack, full)
    return StackView(
        stack=stack,
        card=card,
        title=kind_of(stack) or "Series",
        normals=compare_with_normals(place.of(stack), "series"),
        profile=profile_of(stack, card, PROFILE_SIZE),
        slices=viewer_slices(stack, scale, pictures, full, shown) | {"planes": planes.facts()},
        key_slices=_key_slices(stack, pictures, shown),
        marks=pane_marks(stack),
        planes=planes,
        failed=[
            (index + 1, stack.path[index], failures.get(stack.path[index], "could not be used"))
            for index in np.flatnonzero(stack.state == State.FAILED).tolist()
        ],
        no_pictures="" if pictures else _no_pictures(stack),
        states=states_of(stack),
        orientation=_ORIENTATION.get(str(stack.info["plane"]), "")
        * bool(stack.info["orientation"]),
        spacing=_spacing(stack),
        regions=[region_words(r) for r in measured(found, stack, scale.middle)] if scale else [],
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
    worst = [index for index in stack.ranked() if index in pictures][:KEY_SLICES]
    return [
        KeySlice(shown.index(index), index + 1, float(stack.slice_score[index]), pictures[index])
        for index in worst
    ]
