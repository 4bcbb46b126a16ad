"""What the viewer is given: maps, letters, lengths, words."""

import base64

import numpy as np
import pytest

from medscan.archive import Kind, Stack
from medscan.imaging import Letterbox
from medscan.report.cards import cards_of
from medscan.report.orientation import PaneMarks, letters, pane_marks
from medscan.report.pictures import profile
from medscan.report.standing import place
from medscan.report.study import views_of
from tests.report import make


def displayed(orientation, kind=Kind.DICOM, spacing=(1.0, 1.0)):
    """A stack of 192 x 160 pixels as it is scanned."""
    stack = Stack("s1", kind, (), 192, 160, orientation, spacing)
    made = make.stack(
        "s1", n=3, orientation=list(orientation), pixel_spacing=list(spacing), kind=str(kind)
    )
    made.grid_to_pixel[:] = Letterbox.of(stack, make.SIZE).grid_to_pixel(make.PATCH)
    return made


@pytest.mark.parametrize(
    ("orientation", "sides"),
    [
        ((1, 0, 0, 0, 1, 0), "RLAP"),  # axial as usual
        ((-1, 0, 0, 0, 1, 0), "RLAP"),  # stored mirrored: turned for display
        ((0, 1, 0, 1, 0, 0), "RLAP"),  # stored transposed
        ((1, 0, 0, 0, 0, -1), "RLHF"),  # coronal
        ((0, 1, 0, 0, 0, -1), "APHF"),  # sagittal
        ((0, -1, 0, 0, 0, 1), "APHF"),
    ],
)
def test_letters_are_those_of_the_picture_as_displayed(orientation, sides):
    marks = pane_marks(displayed(orientation))
    assert marks.left + marks.right + marks.top + marks.bottom == sides


def test_letters_of_volumes_are_of_frames_that_are_turned_already():
    marks = pane_marks(displayed((1, 0, 0, 0, 0, -1), Kind.NIFTI))
    assert marks.left + marks.right + marks.top + marks.bottom == "RLHF"


def test_an_oblique_direction_has_two_letters():
    assert letters(np.array([0.8, -0.6, 0.0])) == "LA"
    assert letters(np.array([0.99, -0.1, 0.0])) == "L"
    assert letters(np.array([-0.1, 0.5, -2.0])) == "F"
    c, s = np.cos(0.5), np.sin(0.5)
    marks = pane_marks(displayed((c, s, 0, -s, c, 0)))
    assert (marks.left, marks.right) == ("RA", "LP")


def test_the_bar_is_as_long_as_it_says():
    # 192 rows of 1 mm fill the square of 96 pixels.
    assert pane_marks(displayed((1, 0, 0, 0, 1, 0))).length_mm == 50
    assert pane_marks(displayed((1, 0, 0, 0, 1, 0))).share == pytest.approx(50 / 192)
    wide = pane_marks(displayed((1, 0, 0, 0, 1, 0), spacing=(0.25, 0.5)))
    assert (wide.length_mm, wide.share) == (20, pytest.approx(20 / 80))


def test_nothing_is_claimed_of_what_is_not_known():
    assert pane_marks(make.stack(n=3, pixel_spacing=[])) == PaneMarks()
    unturned = pane_marks(make.stack(n=3, orientation=[]))
    assert (unturned.left, unturned.top, unturned.length_mm) == ("", "", 50)


def view(stack, pictures=None, **options):
    study = make.study("aaa", [stack])
    where, cards = place(study, {}), cards_of([make.run()])
    found = views_of(study, where, cards, {"s1": pictures or {}}, {}, **options)
    return found[0]


def test_the_viewer_gets_the_maps_of_the_file():
    stack = make.stack("s1", 0.9, 8)
    slices = view(stack, every=True).slices
    steps = np.frombuffer(base64.b64decode(slices["maps"]), "<u2").reshape(stack.heatmap.shape)
    back = slices["low"] + steps / 65535 * (slices["high"] - slices["low"])
    np.testing.assert_allclose(back, stack.heatmap, atol=2e-5)
    assert slices["numbers"] == list(range(1, 9))
    assert slices["scores"][0] is None
    assert slices["states"][:2] == ["background", "scored"]
    assert slices["scale"] == [0.2, 0.5, pytest.approx(0.8)]


def test_a_page_that_holds_everything_shows_slices_with_pictures_only():
    stack = make.stack("s1", 0.9, 8)
    slices = view(stack, {4: "data:a", 2: "data:b"}, every=False).slices
    assert slices["numbers"] == [3, 5]
    assert slices["pictures"] == ["data:b", "data:a"]
    size = np.frombuffer(base64.b64decode(slices["maps"]), "<u2").size
    assert size == 2 * make.GRID**2


def test_a_profile_keeps_its_peaks_however_long_it_is():
    scores = np.full(5000, 0.2, np.float32)
    scores[1234] = 0.7
    scores[0] = np.nan
    drawn = profile(scores, 0.6, 0.2, (132, 36), 66)
    assert drawn.line.count(" ") < 2 * 67
    assert len(drawn.hot.split("M")) == 2
    assert (
        "1 of 4999 scored slices reach the slice threshold of 0.600; the highest is slice 1235"
        " with 0.700" in drawn.words
    )
    assert "nan" not in drawn.line


def test_a_profile_has_gaps_and_dots():
    scores = np.array([0.3, np.nan, 0.4, np.nan], np.float32)
    drawn = profile(scores, 0.6, 0.2, (100, 20))
    assert drawn.line.count("M") == 2
    assert drawn.hot == ""
    empty = profile(scores * np.nan, float("nan"), 0.0, (100, 20))
    assert (empty.line, empty.limit, empty.words) == ("", "", "No slice was scored.")


@pytest.mark.parametrize("lineage", [None, 5, "abc", {"name": "a"}, [1], [{}]])
def test_a_lineage_that_is_none_does_not_stop_a_report(lineage):
    (card,) = cards_of([make.run(detectors=[make.DETECTOR | {"lineage": lineage}])]).values()
    assert card.parents == ([("", "", "")] if lineage == [{}] else [])
