import pytest
from pydicom.dataset import Dataset

from medscan.archive import index
from medscan.archive.radiograph import view_of
from medscan.choices import Plane

from .conftest import write

UNPLACED = {"ImagePositionPatient": None, "ImageOrientationPatient": None}


@pytest.mark.parametrize(
    ("view", "orientation", "plane"),
    [
        ("PA", None, Plane.CORONAL),
        ("ap", None, Plane.CORONAL),
        ("LL", ["L", "F"], Plane.SAGITTAL),
        ("", ["L", "F"], Plane.CORONAL),
        ("", ["AL", "FR"], Plane.SAGITTAL),
        ("LLO", ["R", "A"], Plane.AXIAL),
        ("", ["L"], None),
        ("", ["L", "R"], None),
        ("", ["<", ">"], None),
        ("", None, None),
    ],
)
def test_a_view_has_a_plane(view, orientation, plane):
    ds = Dataset()
    ds.ViewPosition, ds.PatientOrientation = view, orientation
    assert view_of(ds) is plane


def test_frontal_and_lateral_films_of_one_series_are_two_stacks(tmp_path):
    for number, view in enumerate(("PA", "LL"), 1):
        own = {"SOPInstanceUID": f"1.2.{number}", "InstanceNumber": number, "ViewPosition": view}
        write(tmp_path / f"{number}.dcm", **own, **UNPLACED)
    (study,) = index([tmp_path]).studies
    planes = [stack.plane for series in study.series for stack in series.stacks]
    assert sorted(planes) == [Plane.CORONAL, Plane.SAGITTAL]
