"""Regions of maps in a Structured Report: the rows of the table, with units that readers know."""

import csv
import shutil
import subprocess
from dataclasses import replace

import highdicom
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage

from medscan.findings import Algorithm, Image, stack_group
from medscan.report import write_csv
from medscan.results import State
from tests.export import make
from tests.export.make import exported, multiframe, scanned, single

MEASURED = {  # term: column of the table, unit
    "Score (attribute)": ("peak", "1"),
    "Threshold Value": ("threshold", "1"),
    "Number of slices": ("slices", "1"),
    "Volume": ("volume_mm3", "mm3"),
    "Area": ("area_mm2", "mm2"),
    "Diameter": ("diameter_mm", "mm"),
    "Extent from right to left": ("extent_rl_mm", "mm"),
    "Extent from front to back": ("extent_ap_mm", "mm"),
    "Extent from foot to head": ("extent_fh_mm", "mm"),
    "Centre to the left of the origin": ("centre_l_mm", "mm"),
    "Centre to the back of the origin": ("centre_p_mm", "mm"),
    "Centre to the head of the origin": ("centre_h_mm", "mm"),
}
SIZES = ("Volume", "Area", "Diameter")


@pytest.fixture(scope="module", params=["oblique", "many"])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("findings") / "in"
    return scanned(single(folder, "oblique") if request.param == "oblique" else multiframe(folder))


def regions(made, out):
    """Groups of the regions in the report, and the rows of the table."""
    (path,), left = exported("dicom-sr", made.job(out))
    assert left == []
    write_csv([made.results], out / "regions.csv", "regions")
    with (out / "regions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    groups = highdicom.sr.srread(path).content.get_image_measurement_groups()
    return path, [g for g in groups if g.tracking_identifier.startswith("region ")], rows


def test_a_region_is_a_row_of_the_table(made, tmp_path):
    _, groups, rows = regions(made, tmp_path)
    assert len(groups) == len(rows) == 1
    for group, row in zip(groups, rows, strict=True):
        found = {m.name.meaning: m for m in group.get_measurements()}
        assert found.keys() == MEASURED.keys()
        for meaning, (column, unit) in MEASURED.items():
            digits = 1e-6 if unit == "1" else 0.05
            assert found[meaning].value == pytest.approx(float(row[column]), abs=digits * 1.01)
            assert (found[meaning].unit.scheme_designator, found[meaning].unit.value) == (
                "UCUM",
                unit,
            )
        assert found["Diameter"].derivation == found["Area"].derivation == codes.SCT.Maximum
        (image,) = group.source_images
        assert image.referenced_sop_instance_uid == row["peak_sop_instance_uid"]
        frame = int(row["peak_frame"]) + 1
        many = made.folder.joinpath("many.dcm").exists()
        assert image.referenced_frame_numbers == ([frame] if many else None)


def test_the_centre_lies_where_the_marker_does(made, tmp_path):
    _, (group,), _ = regions(made, tmp_path)
    values = {m.name.meaning: m.value for m in group.get_measurements()}
    found = [values[name] for name in MEASURED if name.startswith("Centre")]
    assert found == pytest.approx(made.marker.tolist(), abs=2.5), "half a patch of 4 mm"


def test_pydicom_alone_reads_names_values_and_units(made, tmp_path):
    path, _, rows = regions(made, tmp_path)
    numbers = {}
    for item in items(pydicom.dcmread(path)):
        if item.get("ValueType") == "NUM":
            (value,) = item.MeasuredValueSequence
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            numbers[name, unit] = float(value.NumericValue)
    assert numbers["Volume", "mm3"] == pytest.approx(float(rows[0]["volume_mm3"]), abs=0.051)


def items(dataset):
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
def test_the_report_is_valid(made, tmp_path):
    path, _, _ = regions(made, tmp_path)
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []


def test_what_is_not_known_has_no_row(tmp_path):
    bare = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    source = scanned(single(tmp_path / "in", **bare))
    _, groups, _ = regions(source, tmp_path)
    assert groups
    names = {m.name.meaning for group in groups for m in group.get_measurements()}
    assert names == {"Score (attribute)", "Threshold Value", "Number of slices"}


@pytest.mark.parametrize("masked", [True, False])
def test_evidence_is_called_so(tmp_path, masked):
    source = scanned(single(tmp_path / "in"), replace(make.DETECTOR, masked=masked))
    _, (group,), _ = regions(source, tmp_path)
    told = [e.name.meaning for e in group.get_qualitative_evaluations()]
    assert told == ["Map shows evidence, not a border"] * (not masked)


def told_of(stack, made):
    image, algorithm = Image(MRImageStorage, "1.2", "1.3", None), Algorithm("seen", "1")
    return stack_group(stack, [image], made.results.run().detectors[0], algorithm)


def test_slices_that_were_passed_over_are_counted(made):
    ((stack,),) = [study.stacks for study in made.results.studies()]
    for count in (0, 2):
        stack.state[:count] = State.PASSED_OVER
        found = {m.name.value: m.value for m in told_of(stack, made).get_measurements()}
        assert found.get("passed-over", 0) == count


@pytest.mark.parametrize("unlike", [[], ["its slices look different"]])
def test_a_stack_that_is_unlike_the_shots_says_so(made, unlike):
    ((stack,),) = [study.stacks for study in made.results.studies()]
    group = told_of(replace(stack, info=stack.info | {"unlike": unlike}), made)
    told = {e.name.value: e.value for e in group.get_qualitative_evaluations()}
    assert ("unlike" in told) == bool(unlike)
