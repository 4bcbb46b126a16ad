"""DICOM objects: where they lie, what they refer to, that they are valid and always the same."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK

from medscan.archive import Reason, index
from medscan.choices import Grid, SegType
from medscan.export.capture import letter
from medscan.report import rank
from medscan.results.maps import on_frame
from tests.export import make
from tests.export.make import PIXEL, SLICE, exported, multiframe, scanned, single
from tests.report import make as plain

HALF = 0.5 * make.SPACING[0]
SOURCES = {plane: single for plane in make.PLANES} | {"multi-frame": multiframe}


@pytest.fixture(scope="module", params=sorted(SOURCES))
def made(request, tmp_path_factory):
    """Results of a source in each plane, and of a multi-frame one."""
    folder = tmp_path_factory.mktemp("source") / request.param
    where = {} if request.param == "multi-frame" else {"plane": request.param}
    return scanned(SOURCES[request.param](folder, **where))


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    return scanned(single(tmp_path_factory.mktemp("source") / "axial"))


def only(name, job):
    (path,), left = exported(name, job)
    assert left == []
    assert path.name == f"{pydicom.dcmread(path).SOPInstanceUID}.dcm"
    return path


def brightest(path):
    """Patient coordinates of the middle of what is brightest, by the object's own header."""
    ds = pydicom.dcmread(path)
    shared = ds.SharedFunctionalGroupsSequence[0]
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    k, y, x = np.argwhere(frames == frames.max()).mean(axis=0)
    place = ds.PerFrameFunctionalGroupsSequence[int(k)].PlanePositionSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    rows, columns = shared.PixelMeasuresSequence[0].PixelSpacing
    corner = np.array(place.ImagePositionPatient, float)
    return corner + x * columns * row.astype(float) + y * rows * column.astype(float)


@pytest.mark.parametrize("grid", Grid)
def test_a_parametric_map_lies_on_its_source(made, tmp_path, grid):
    path = only("dicom-pm", made.job(tmp_path, grid=grid))
    assert np.linalg.norm(brightest(path) - made.marker) < HALF
    volume = highdicom.imread(path).get_volume()
    at = np.argwhere(volume.array == volume.array.max()).mean(axis=0)
    again = volume.map_indices_to_reference(at[None].round().astype(int))[0]
    assert np.linalg.norm(again - made.marker) < HALF


def test_values_of_a_parametric_map_are_the_scores(axial, tmp_path):
    (stack,) = next(axial.results.studies()).stacks
    ds = pydicom.dcmread(only("dicom-pm", axial.job(tmp_path, grid=Grid.MODEL)))
    order = np.argsort([position(f)[2] for f in ds.PerFrameFunctionalGroupsSequence])
    assert np.array_equal(ds.pixel_array[order], stack.heatmap.astype(np.float32))
    mapping = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "246262008"


def test_a_segmentation_lies_on_its_source(made, tmp_path):
    path = only("dicom-seg", made.job(tmp_path))
    assert np.linalg.norm(brightest(path) - made.marker) < HALF
    image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    lit = np.argwhere(array == array.max()).mean(axis=0)[::-1]
    again = image.TransformContinuousIndexToPhysicalPoint(lit.tolist())
    assert np.linalg.norm(again - made.marker) < HALF


def test_a_segmentation_says_what_its_regions_are(axial, tmp_path):
    ds = pydicom.dcmread(only("dicom-seg", axial.job(tmp_path)))
    (segment,) = ds.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Abnormality"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "seen"
    assert "0.4" in segment.SegmentLabel
    assert ds.NumberOfFrames == 1


def test_a_fractional_segmentation_holds_places_on_the_scale(made, tmp_path):
    job = made.job(tmp_path, seg_type=SegType.FRACTIONAL)
    path = only("dicom-seg", job)
    assert np.linalg.norm(brightest(path) - made.marker) < HALF
    seg = highdicom.seg.segread(path)
    assert (seg.SegmentationType, seg.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    (stack,) = next(job.studies()).stacks
    size = int(stack.info["rows"]), int(stack.info["columns"])
    scores = on_frame(stack.heatmap[SLICE], stack.grid_to_pixel[SLICE], *size)
    found = seg.pixel_array.reshape(-1, *size) / seg.MaximumFractionalValue
    wanted = job.scale(stack).position(scores)
    frame = found[np.abs(found - wanted).max(axis=(1, 2)).argmin()]
    np.testing.assert_allclose(frame, wanted, atol=0.5 / 255)
    assert np.array_equal(frame >= 0.5, scores >= job.scale(stack).middle)
    binary = pydicom.dcmread(only("dicom-seg", made.job(tmp_path / "binary")))
    assert binary.SeriesInstanceUID != seg.SeriesInstanceUID


def test_a_nifti_map_lies_on_its_source(made, tmp_path):
    for grid in Grid:
        path, source = exported("nifti", made.job(tmp_path, grid=grid, with_source=True))[0]
        for file in (path, source):
            image = SimpleITK.ReadImage(str(file))
            array = SimpleITK.GetArrayFromImage(image)
            lit = np.argwhere(array == array.max()).mean(axis=0)[::-1]
            again = image.TransformContinuousIndexToPhysicalPoint(lit.tolist())
            assert np.linalg.norm(again - made.marker) < HALF


def test_a_frame_refers_to_the_frame_that_it_is_of(made, tmp_path):
    for name in ("dicom-pm", "dicom-seg"):
        ds = pydicom.dcmread(only(name, made.job(tmp_path)))
        (frame,) = [
            f
            for f in ds.PerFrameFunctionalGroupsSequence
            if np.allclose(position(f), place_of_slice(made), atol=1e-3)
        ]
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        if made.folder.name == "multi-frame":
            assert source.ReferencedSOPInstanceUID == "1.2.840.1.2.77"
            assert source.ReferencedFrameNumber == 5
        else:
            assert source.ReferencedSOPInstanceUID == f"1.2.840.1.2.{SLICE + 1}"
            assert "ReferencedFrameNumber" not in source
        (series,) = ds.ReferencedSeriesSequence
        known = {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence}
        assert len(known) == len(series.ReferencedInstanceSequence) == len(ds.SourceImageSequence)
        assert source.ReferencedSOPInstanceUID in known


def position(frame):
    return np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)


def place_of_slice(made):
    plane = "oblique" if made.folder.name == "multi-frame" else made.folder.name
    return make.geometry(plane)[2][SLICE]


def test_a_capture_shows_the_key_slice(made, tmp_path):
    ds = pydicom.dcmread(only("dicom-sc", made.job(tmp_path)))
    assert (ds.Rows, ds.Columns, ds.PhotometricInterpretation) == (make.ROWS, make.COLUMNS, "RGB")
    painted = np.ptp(ds.pixel_array.astype(int), axis=2)
    y, x = np.argwhere(painted == painted.max()).mean(axis=0)
    assert np.hypot(x - PIXEL[0], y - PIXEL[1]) <= make.PATCH
    (source,) = ds.SourceImageSequence
    frame = source.get("ReferencedFrameNumber")
    assert frame == (5 if made.folder.name == "multi-frame" else None)
    row, column, _ = make.geometry("oblique" if frame else made.folder.name)
    assert list(ds.PatientOrientation) == [letter(tuple(row)), letter(tuple(column))]


TEXTUAL = (
    {"thumbnails": "withheld: may carry burned-in text"},
    {"modality": "US"},
    {"notes": ["burned-in text likely"]},
)


@pytest.mark.parametrize("changed", TEXTUAL)
def test_a_capture_says_that_text_may_be_burned_in(axial, tmp_path, changed):
    study = next(axial.results.studies())
    stack = replace(study.stacks[0], info=study.stacks[0].info | changed)
    results = plain.results(tmp_path, [replace(study, stacks=(stack,))], axial.results.run())
    clean = pydicom.dcmread(only("dicom-sc", axial.job(tmp_path / "a")))
    noted = pydicom.dcmread(only("dicom-sc", replace(axial, results=results).job(tmp_path / "b")))
    assert (clean.BurnedInAnnotation, noted.BurnedInAnnotation) == ("NO", "YES")


def test_letters_name_the_nearest_side():
    assert [letter(v) for v in ((1, 0, 0), (-0.9, 0.1, 0), (0, 0, -1))] == ["L", "R", "F"]


def test_a_report_holds_the_score_and_the_key_image(made, tmp_path):
    (stack,) = next(made.results.studies()).stacks
    report = highdicom.sr.srread(only("dicom-sr", made.job(tmp_path)))
    groups = report.content.get_image_measurement_groups()
    assert len(groups) == 3
    whole, key, region = groups
    values = {m.name.meaning: m.value for m in whole.get_measurements()}
    assert values["Score (attribute)"] == pytest.approx(stack.score, abs=1e-6)
    assert values["Threshold Value"] == pytest.approx(stack.info["threshold"], abs=1e-6)
    (standing,) = rank([made.results])[0].place.stacks.values()
    expected = values["Normal series expected to score as high"]
    assert expected == pytest.approx(100 * standing.expected, abs=1e-6)
    assert 0 < expected < 100
    assert whole.get_qualitative_evaluations()[0].value.meaning == "Yes"
    (image,) = key.source_images
    uid = image.referenced_sop_instance_uid
    assert region.source_images[0].referenced_sop_instance_uid == uid
    assert uid == ("1.2.840.1.2.77" if "multi" in made.folder.name else "1.2.840.1.2.5")
    (series,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid


def test_a_report_says_that_the_domain_was_assumed(axial, tmp_path):
    study = next(axial.results.studies())
    told = []
    for name, assumed in (("a", []), ("b", ["body part BRAIN"])):
        stack = replace(study.stacks[0], info=study.stacks[0].info | {"assumed": assumed})
        results = plain.results(
            tmp_path, [replace(study, stacks=(stack,))], axial.results.run(), f"{name}.h5"
        )
        made = replace(axial, results=results).job(tmp_path / name)
        report = highdicom.sr.srread(only("dicom-sr", made))
        whole = report.content.get_image_measurement_groups()[0]
        told.append({e.name.meaning for e in whole.get_qualitative_evaluations()})
    assert told[1] - told[0] == {"Header does not say all that algorithm is for"}


FORMATS = ("dicom-pm", "dicom-seg", "dicom-sc", "dicom-sr")


@pytest.mark.parametrize("name", FORMATS)
def test_exporting_twice_gives_the_same_bytes(axial, tmp_path, name):
    first = only(name, axial.job(tmp_path / "a"))
    second = only(name, axial.job(tmp_path / "b"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_other_results_give_another_instance_in_the_same_series(axial, tmp_path):
    low = replace(make.DETECTOR.calibration, map_high=0.3)
    other = make.Made(axial.folder, axial.marker)
    shutil.copytree(axial.folder, tmp_path / "copy")
    other = scanned(make.Made(tmp_path / "copy", axial.marker),
                    replace(make.DETECTOR, calibration=low))  # fmt: skip
    one, two = (pydicom.dcmread(only("dicom-seg", m.job(tmp_path / "out"))) for m in (axial, other))
    assert one.SeriesInstanceUID == two.SeriesInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID


@pytest.mark.parametrize("name", FORMATS)
def test_an_object_belongs_to_its_patient_and_study_but_to_a_new_series(axial, tmp_path, name):
    ds = pydicom.dcmread(only(name, axial.job(tmp_path)))
    source = pydicom.dcmread(axial.folder / "0.dcm")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert ds[keyword].value == source[keyword].value
    assert ds.SeriesInstanceUID != source.SeriesInstanceUID
    assert ds.ContentDate == source.StudyDate
    assert "InstanceCreationDate" not in ds


FRACTIONAL = {"seg_type": SegType.FRACTIONAL}


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
@pytest.mark.parametrize(
    ("name", "options"), [*((n, {}) for n in FORMATS), ("dicom-seg", FRACTIONAL)]
)
def test_objects_are_valid(made, tmp_path, name, options):
    path = only(name, made.job(tmp_path, **options))
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="needs dcmdump of DCMTK")
@pytest.mark.parametrize("name", FORMATS)
def test_dcmtk_opens_them(axial, tmp_path, name):
    path = only(name, axial.job(tmp_path))
    done = subprocess.run(["dcmdump", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[Doe^Jane]" in done.stdout


def test_what_export_wrote_is_not_scanned_again(axial, tmp_path):
    for name in FORMATS:
        exported(name, axial.job(tmp_path))
    found = index([tmp_path])
    assert found.studies == ()
    reasons = sorted(str(o.reason) for o in found.set_aside)
    assert reasons == [Reason.DERIVED, Reason.DERIVED, Reason.DERIVED, Reason.NOT_AN_IMAGE]
