"""Which detector scores a stack, with and without having been named, and what it says then."""

from pathlib import Path

from medscan.choices import Plane
from medscan.detector import Domain
from medscan.routing import route

from .make import FLAIR, brain, detector, stack

WIDE = detector("wide", Domain("MR"))
NARROW, TWIN = detector("narrow", FLAIR), detector("twin", FLAIR)
CHEST = detector("chest", Domain("CR", "CHEST", "", "coronal", "adults"))
BREAST = detector("breast", Domain("US", "BREAST"))


def test_the_narrowest_detector_wins_then_the_first():
    assert route(brain("FLAIR"), [WIDE, NARROW, TWIN], named=False).detector is NARROW
    assert route(brain("T1"), [WIDE, NARROW], named=False).detector is WIDE
    assert route(stack(Modality="CT"), [WIDE, NARROW], named=False).detector is None


def test_what_does_not_say_is_scored_only_by_a_detector_that_was_named():
    unnamed = route(stack(), [NARROW], named=False)
    assert (unnamed.detector, unnamed.nearest.detector) == (None, NARROW)
    assert unnamed.nearest.missing == ("modality", "body part", "sequence")
    assert unnamed.why() == (
        "it does not say modality, body part and sequence, which narrow asks for"
    )
    named = route(stack(), [NARROW], named=True)
    assert named.detector is NARROW
    assert named.assumed == ("modality MR", "body part BRAIN", "sequence FLAIR")
    assert route(brain("FLAIR"), [NARROW], named=True).assumed == ()


def test_what_contradicts_is_not_scored_even_by_a_detector_that_was_named():
    for named in (False, True):
        found = route(brain("gre_field_mapping", EchoTime="4.9"), [NARROW], named=named)
        assert (found.detector, found.nearest) == (None, None)
        assert found.why() == 'SeriesDescription "FIELD_MAP" (FIELD MAP), not for narrow'


def test_a_fitting_detector_goes_before_one_that_assumes():
    assert route(brain("FLAIR", plane=None), [NARROW, WIDE], named=True).detector is WIDE


def test_of_several_that_assume_the_one_that_is_confirmed_most_scores():
    given = stack(Plane.AXIAL)
    assert route(given, [CHEST, BREAST, NARROW], named=True).detector is NARROW
    given = stack(None, BodyPartExamined="BREAST")
    assert route(given, [NARROW, BREAST], named=True).detector is BREAST


def test_reasons_name_the_detectors_that_share_them():
    why = route(stack(Modality="CT"), [NARROW, BREAST, CHEST], named=True).why()
    assert why == "Modality CT, not for narrow, breast and chest"
    both = route(brain("T1"), [NARROW, BREAST], named=True).why()
    assert both == ('SeriesDescription "T1" (T1), not for narrow; Modality MR, not for breast')


def test_without_detectors_there_is_nothing_to_say():
    found = route(brain("FLAIR"), [], named=False)
    assert (found.detector, found.nearest, found.why(), found.assumed) == (None, None, "", ())


def test_the_shipped_detectors_are_what_these_tests_take_them_for():
    from medscan import detector as detectors

    domains = {path.stem: detectors.read(path).domain for path in detectors.shipped()}
    assert domains["brain-flair"] == FLAIR
    assert domains["chest-xray"] == CHEST.domain
    assert domains["breast-ultrasound"] == BREAST.domain
    assert detectors.find(Path("brain-flair")).exists()


def test_sentences_say_what_each_detector_asks_for_and_what_the_header_says():
    assert route(brain("T1"), [NARROW, BREAST], named=False).sentences() == [
        'narrow asks for BRAIN FLAIR MR axial: SeriesDescription "T1" (T1)',
        "breast asks for BREAST US: Modality MR",
    ]
    assert route(brain(), [NARROW], named=False).sentences() == [
        "narrow asks for BRAIN FLAIR MR axial: the header does not say sequence; "
        "name the detector to have it scored"
    ]


def test_what_the_site_leaves_out_is_not_scored_whatever_fits():
    left_out = [("ImageType", "localizer"), ("SeriesDescription", "FLA")]
    image = brain("FLAIR", ImageType="ORIGINAL\\PRIMARY\\LOCALIZER")
    found = route(image, [NARROW, WIDE], named=True, left_out=left_out)
    assert found.detector is None
    assert found.why() == "ImageType localizer, which is left out, not for narrow and wide"
    whole_words_only = route(brain("FLAIR"), [NARROW], named=True, left_out=left_out)
    assert whole_words_only.detector is NARROW


def test_a_word_that_is_left_out_is_no_pattern():
    assert route(brain("FLAIR"), [NARROW], named=True, left_out=[("Modality", ".R")]).detector
