import pytest

from medscan.archive import Kind, Plane, Series, Stack
from medscan.detector import Calibration, Detector, Domain
from medscan.scan.routing import fits, route

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
