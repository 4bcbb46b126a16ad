from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.archive import ArchiveFile, Header, Kind, Series, Stack
from medscan.choices import Plane
from medscan.detector import Detector, Domain
from medscan.normals import Calibration
from medscan.planning.routing import fits, route
from medscan.planning.survey import scan_pseudonyms
from tests.options import scan_options

FLAIR = Domain("MR", "BRAIN", "FLAIR", "axial")


def series(modality="MR", body_part="BRAIN", description="AX FLAIR") -> Series:
    return Series("1.2", modality, body_part, description, ())


def stack(plane: Plane | None = Plane.AXIAL) -> Stack:
    return Stack("k", Kind.DICOM, (), 2, 2, plane=plane)


@pytest.mark.parametrize(
    ("given", "plane", "fitting"),
    [
        (series(), Plane.AXIAL, True),
        (series(description="ax t2 flair fs"), Plane.AXIAL, True),
        (series(body_part="HEAD"), Plane.AXIAL, True),
        (series(), Plane.SAGITTAL, False),
        (series(modality="CT"), Plane.AXIAL, False),
        (series(body_part="KNEE"), Plane.AXIAL, False),
        (series(description="AX T1 POST"), Plane.AXIAL, False),
        (series(description="DWI b1000"), Plane.AXIAL, False),
    ],
)
def test_what_is_known_decides(given, plane, fitting):
    assert fits(FLAIR, given, stack(plane), named=False) is fitting
    assert fits(FLAIR, given, stack(plane), named=True) is fitting


@pytest.mark.parametrize(("modality", "fitting"), [("CR", True), ("DX", True), ("CT", False)])
def test_radiographs_are_one_kind_however_they_were_taken(modality, fitting):
    chest = Domain("CR", "CHEST", "", "coronal")
    given = series(modality, "THORAX", "")
    assert fits(chest, given, stack(Plane.CORONAL), named=False) is fitting


@pytest.mark.parametrize(
    "given",
    [series(modality=""), series(body_part=""), series(description="study 1"), series("", "", "")],
)
def test_what_is_unknown_fits_only_detectors_that_were_named(given):
    assert not fits(FLAIR, given, stack(), named=False)
    assert fits(FLAIR, given, stack(), named=True)


def test_the_narrowest_detector_wins_then_the_first():
    calibration = Calibration((), 0.0, 0.05, True, 0, 1)

    def named(name, domain):
        return Detector(name, "mvfa", "clean", "", True, {}, "b", "d", domain, "auto", calibration)

    wide, narrow, twin = named("w", Domain("MR")), named("n", FLAIR), named("t", FLAIR)
    assert route(series(), stack(), [wide, narrow, twin], named=False) is narrow
    assert route(series(description="T1"), stack(), [wide, narrow], named=False) is wide
    assert route(series(modality="CT"), stack(), [wide, narrow], named=False) is None


DESCRIPTION = st.lists(
    st.sampled_from(
        [
            "T1",
            "T2",
            "FLAIR",
            "STIR",
            "t2w",
            "T10",
            "HEADT1",
            "PDW",
            "Doe^Jane",
            "ax",
            "_",
            "|",
            "dwi",
        ]
    ),
    max_size=4,
)


@given(DESCRIPTION, st.sampled_from(["", " ", "_"]), st.sampled_from(["", "FLAIR", "stir", "T2"]))
def test_pseudonyms_keep_what_routing_asks_for(words, between, wanted):
    """A series goes to the same detector whether or not its description was cut down."""
    detector = Detector(
        *("d", "m", "clean", "o"),
        masked=False,
        settings={},
        backbone="b",
        backbone_digest="",
        domain=Domain("MR", "BRAIN", wanted),
        window="auto",
        calibration=Calibration((), 0, 0, provisional=True, map_low=0, map_high=1),
    )
    options = scan_options(out=Path("o.h5"), detectors=((Path("d"), detector),))
    whole = Header(
        ArchiveFile("a", Path("/"), 1, 1),
        Kind.DICOM,
        facts={
            "Modality": "MR",
            "BodyPartExamined": "BRAIN",
            "SeriesDescription": between.join(words),
        },
    )
    cut = scan_pseudonyms(options.inputs, options.privacy, b"key").record(whole)
    assert "JANE" not in cut.description.upper()
    for named in (False, True):
        before, after = (
            fits(
                detector.domain,
                series(h.modality, h.body_part, h.description),
                stack(),
                named=named,
            )
            for h in (whole, cut)
        )
        assert before == after
