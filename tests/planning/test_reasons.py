import pytest

from medscan.archive import Kind, Series, Stack
from medscan.choices import Plane
from medscan.detector import Detector, Domain
from medscan.normals import Calibration
from medscan.planning.reasons import why_not

CALIBRATION = Calibration((), 0.0, 0.05, True, 0, 1)
AXIAL = Stack("k", Kind.DICOM, (), 2, 2, plane=Plane.AXIAL)


def detector(name, *domain):
    facts = ("mvfa", "clean", "", True, {}, "b", "d", Domain(*domain), "auto", CALIBRATION)
    return Detector(name, *facts)


FLAIR = detector("brain-flair", "MR", "BRAIN", "FLAIR", "axial")


@pytest.mark.parametrize(
    ("facts", "named", "missing"),
    [
        (("CT", "CHEST", ""), True, "Modality is CT, BodyPartExamined is CHEST"),
        (("MR", "BRAIN", "AX T1 POST"), True, "the sequence is T1"),
        (("MR", "", "FLAIR"), False, "BodyPartExamined is not stated"),
        (
            ("", "", "v.nii"),
            False,
            "Modality is not stated, BodyPartExamined is not stated, the sequence is not stated",
        ),
    ],
)
def test_each_detector_says_what_it_asks_for_and_what_is_there(facts, named, missing):
    told = why_not(Series("1.2", *facts, ()), AXIAL, [FLAIR], named=named)
    assert told == [f"brain-flair asks for BRAIN FLAIR MR axial: {missing}"]


def test_all_detectors_are_told_of():
    series, chest = Series("1.2", "US", "BREAST", "", ()), detector("chest", "CR", "CHEST")
    told = why_not(series, AXIAL, [FLAIR, chest], named=False)
    assert [text.split(" ")[0] for text in told] == ["brain-flair", "chest"]


def test_a_description_is_not_told():
    series = Series("1.2", "MR", "BRAIN", "DOE^JANE T2 SWI", ())
    (told,) = why_not(series, AXIAL, [FLAIR], named=True)
    assert told.endswith(": the sequence is T2 SWI")
