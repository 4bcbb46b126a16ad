"""Series of a real archive go to the detectors that are for them, and to no other.

`routes.csv` labels each series, named as in the archive's `expected_series.csv`; other files by
their path. Labels were set by hand from what headers state, other than the rules do: by reading
Modality, SOP class, body part and all descriptions in full, the image type, and for MR the physics
(pulse sequence, echo, inversion and repetition times, b-value); of files that others converted,
from the folder and JSON file that they came in. A question mark stands for what none of these
tells.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from medscan.archive import index
from medscan.choices import Plane
from medscan.detector import Domain
from medscan.routing import Answer, judge, verdict

from .conftest import ARCHIVE

BRAIN_FLAIR = Domain("MR", "BRAIN", "FLAIR", "axial")
DOMAINS = {
    "brain-flair": BRAIN_FLAIR,
    "chest-xray": Domain("CR", "CHEST", "", "coronal", "adults"),
    "chest X-ray of any age": Domain("CR", "CHEST", "", "coronal"),
    "breast-ultrasound": Domain("US", "BREAST"),
    "brain T1": Domain("MR", "BRAIN", "T1"),
    "brain T1 with contrast": Domain("MR", "BRAIN", "T1CE"),
    "brain T2": Domain("MR", "BRAIN", "T2"),
    "brain DWI": Domain("MR", "BRAIN", "DWI"),
    "brain BOLD": Domain("MR", "BRAIN", "BOLD"),
    "abdomen MR": Domain("MR", "ABDOMEN"),
    "knee T1": Domain("MR", "KNEE", "T1"),
    "head CT": Domain("CT", "HEAD"),
    "head CT plain": Domain("CT", "HEAD", "PLAIN"),
    "chest CT": Domain("CT", "CHEST"),
    "spine X-ray": Domain("CR", "SPINE"),
    "mammography": Domain("MG", "BREAST"),
    "heart ultrasound": Domain("US", "HEART"),
}
RIGHT = {
    "brain-flair": 1,
    "chest-xray": 0,
    "chest X-ray of any age": 2,
    "breast-ultrasound": 0,
    "brain T1": 3,
    "brain T1 with contrast": 1,
    "brain T2": 0,
    "brain DWI": 2,
    "brain BOLD": 20,
    "abdomen MR": 3,
    "knee T1": 1,
    "head CT": 6,
    "head CT plain": 0,
    "chest CT": 1,
    "spine X-ray": 3,
    "mammography": 1,
    "heart ultrasound": 5,
}
"""Stacks that each of them scores because their headers say so, and rightly."""
SAME = {"DX": "CR", "HEAD": "BRAIN"}
AGES = {"research/derived objects/dx_image.dcm": "children"}
"""Of the frontal chest radiographs; the others tell none."""
USELESS = ("LOCALIZER", "FIELD MAP", "SCREEN")
"""Kinds that no detector scores that does not ask for them."""
NEVER = ("PT", "CT", "NM", "SPINE", "LOCALIZER", "FIELD MAP", "EPI", "DWI", "FA", "ASL", "MAP")
"""Labels of what a brain detector for FLAIR never scores."""


@pytest.fixture(scope="module")
def stacks():
    """Stacks of the archive, cut as a scan with a detector for axial slices does, with labels."""
    if not ARCHIVE.is_dir():
        pytest.skip("no archive beside the repository")
    with Path(__file__).with_name("routes.csv").open(encoding="utf-8", newline="") as stream:
        labels = {row.pop("series"): row for row in csv.DictReader(stream)}
    found = [
        (stack, labels[series.uid or f"none:{stack.frames[0].file.path}"])
        for study in index([ARCHIVE / "files"], plane=Plane.AXIAL).studies
        for series in study.series
        for stack in series.stacks
    ]
    assert len(found) > 300
    return found


def is_for(domain, stack, label):
    """Whether a stack is what a domain is for, by its label; None where the label does not tell."""
    wanted = (domain.modality, domain.body_part, domain.sequence)
    told = (label["modality"], label["body_part"], label["kind"])
    same = [
        None if said == "?" else SAME.get(said, said) == SAME.get(asked, asked)
        for asked, said in zip(wanted, told, strict=True)
        if asked
    ]
    if not domain.sequence and label["kind"] in USELESS:
        return False
    if domain.plane:
        same.append(None if stack.plane is None else stack.plane == domain.plane)
    if domain.age:
        age = AGES.get(stack.frames[0].file.path)
        same.append(None if age is None else age == domain.age)
    return False if False in same else None if None in same else True


def table(stacks, domain, *, named=True):
    """Stacks by what became of them: right, assumed, wrong, missed, left out.

    What is assumed, although its label tells that it is something else, does not say so itself: the
    labels of converted files know more than their headers.
    """
    counts, odd = Counter(), []
    for stack, label in stacks:
        answer, wanted = verdict(judge(domain, stack)), is_for(domain, stack, label)
        scored = answer is Answer.FITS or (named and answer is Answer.SILENT)
        if not scored:
            kind = "missed" if wanted else "left"
        elif answer is Answer.FITS:
            kind = "wrong" if wanted is False else "right" if wanted else "unknown"
        else:
            kind = "assumed, not so" if wanted is False else "assumed"
        counts[kind] += 1
        if kind in ("wrong", "missed", "unknown", "assumed, not so"):
            odd.append((kind, stack.frames[0].file.path, stack.plane, label, answer))
    return counts, odd


@pytest.mark.parametrize("name", DOMAINS)
def test_named_no_detector_scores_what_it_is_not_for(stacks, name):
    counts, odd = table(stacks, DOMAINS[name])
    assert [entry for entry in odd if entry[0] in ("wrong", "missed", "unknown")] == []
    assert counts["right"] == RIGHT[name]


@pytest.mark.parametrize("name", DOMAINS)
def test_unnamed_a_detector_scores_only_what_it_is_for(stacks, name):
    counts, _ = table(stacks, DOMAINS[name], named=False)
    assert {kind: n for kind, n in counts.items() if kind not in ("left", "missed")} == (
        {"right": RIGHT[name]} if RIGHT[name] else {}
    )


def test_a_brain_detector_for_flair_scores_no_field_map_localizer_spine_pet_or_ct(stacks):
    scored = [
        (stack.frames[0].file.path, label)
        for stack, label in stacks
        if verdict(judge(BRAIN_FLAIR, stack)) is not Answer.CONTRADICTS
    ]
    assert 0 < len(scored) < 30
    assert [path for path, label in scored if set(label.values()) & {*NEVER}] == []
    assert "hyperfine" in " ".join(path for path, _ in scored)


def test_no_field_map_can_be_shown_as_flair(stacks):
    maps = [stack for stack, label in stacks if label["kind"] == "FIELD MAP"]
    assert len(maps) >= 4
    for stack in maps:
        for sequence in ("FLAIR", "T1", "T2", "DWI"):
            assert verdict(judge(Domain("MR", "BRAIN", sequence), stack)) is Answer.CONTRADICTS
