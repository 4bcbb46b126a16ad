"""The narrowest domain that an image says it fits."""

import pytest

from medscan.choices import Plane
from medscan.detector import Domain
from medscan.routing import Answer, describe, judge, verdict

from .make import brain, stack


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (brain("AX FLAIR"), Domain("MR", "BRAIN", "FLAIR", "axial")),
        (brain("FLAIR", BodyPartExamined="HEAD"), Domain("MR", "BRAIN", "FLAIR", "axial")),
        (brain("t1 mprage", plane=Plane.SAGITTAL), Domain("MR", "BRAIN", "T1", "sagittal")),
        (brain(), Domain("MR", "BRAIN", "", "axial")),
        (stack(Modality="CR", BodyPartExamined="CHEST"), Domain("CR", "CHEST", "", "")),
        (stack(Modality="US", BodyPartExamined="BREAST"), Domain("US", "BREAST", "", "")),
        (stack(Modality="CT", BodyPartExamined="LEFT WING"), Domain("CT", "LEFT WING", "", "")),
        (stack(), Domain()),
    ],
)
def test_what_an_image_says_is_its_domain(given, expected):
    found = describe(given)
    assert (found.modality, found.body_part, found.sequence) == (
        expected.modality,
        expected.body_part,
        expected.sequence,
    )
    assert found.plane == (given.plane or "")
    assert verdict(judge(found, given)) is Answer.FITS
