"""What cannot be exported is told in a line, and the rest is written."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundImageStorage

from medscan.archive import Reason, index
from medscan.choices import ExportFormat, Grid, SegType
from medscan.errors import UsageError
from medscan.export import FORMATS, ExportJob, LeftOut, exporter
from medscan.export.dicom import UNKNOWN_DATE
from medscan.export.job import key_slices
from medscan.reading.sources import Sources
from medscan.results import Results, State
from tests.export import make
from tests.export.make import exported, scanned, single
from tests.report import make as plain

DICOM = ("dicom-pm", "dicom-seg", "dicom-sc", "dicom-sr")


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    return scanned(single(tmp_path_factory.mktemp("source") / "axial"))


@pytest.mark.parametrize("name", DICOM)
def test_a_volume_file_has_no_study_to_put_an_object_into(tmp_path, name):
    folder = tmp_path / "v"
    folder.mkdir()
    affine = np.diag([-1.5, -1.5, 3.0, 1.0])
    image = nibabel.Nifti1Image(make.pixels().transpose(2, 1, 0).astype(np.int16), affine)
    image.to_filename(folder / "v.nii")
    made = scanned(make.Made(folder, np.zeros(3)))
    files, (left,) = exported(name, made.job(tmp_path / "out"))
    assert files == []
    assert "not a DICOM series" in left.why
    files, none = exported("nifti", made.job(tmp_path / "out", with_source=True))
    assert (len(files), none) == (2, [])
    source = nibabel.load(files[1])
    back = nibabel.as_closest_canonical(image).get_fdata()
    assert np.array_equal(nibabel.as_closest_canonical(source).get_fdata(), back)


@pytest.mark.parametrize("name", DICOM)
def test_a_missing_source_costs_its_stack_only(axial, tmp_path, name):
    (tmp_path / "empty").mkdir()
    job = ExportJob([axial.results], tmp_path / "out", Sources([tmp_path / "empty"]))
    files, (left,) = exported(name, job)
    assert files == []
    assert "not in the archive" in left.why


def test_without_an_archive_nothing_is_written(axial, tmp_path):
    with pytest.raises(UsageError, match="--archive"):
        list(exporter("dicom-pm")(ExportJob([axial.results], tmp_path / "out")))


@pytest.mark.parametrize("name", ["dicom-pm", "dicom-seg", "dicom-sc", "png"])
def test_a_detector_without_calibration_has_no_threshold(tmp_path, name):
    nothing = replace(make.DETECTOR.calibration, map_low=0.0, map_high=0.0)
    detector = replace(make.DETECTOR, calibration=nothing)
    made = scanned(single(tmp_path / "s"), detector)
    files, (left,) = exported(name, made.job(tmp_path / "out"))
    assert files == []
    assert "not calibrated" in left.why


def test_files_that_moved_are_found(axial, tmp_path):
    for n, path in enumerate(sorted(axial.folder.iterdir(), reverse=True)):
        (tmp_path / f"x{n}" / "y").mkdir(parents=True)
        (tmp_path / f"x{n}" / "y" / "scan").write_bytes(path.read_bytes())
    moved = ExportJob([axial.results], tmp_path / "b", Sources([tmp_path]))
    (there,), _ = exported("dicom-pm", axial.job(tmp_path / "a"))
    (here,), _ = exported("dicom-pm", moved)
    assert here.read_bytes() == there.read_bytes()


def test_sources_that_changed_are_refused(axial, tmp_path):
    for path in sorted(axial.folder.iterdir()):
        ds = pydicom.dcmread(path)
        ds.Rows, ds.PixelData = ds.Rows - 1, ds.PixelData[: -2 * ds.Columns]
        ds.save_as(tmp_path / path.name)
    _, (left,) = exported(
        "dicom-seg", ExportJob([axial.results], tmp_path / "o", Sources([tmp_path]))
    )
    assert "changed since" in left.why


def edited(made, folder, change):
    """The same results, beside sources that were edited since."""
    folder.mkdir()
    for path in made.folder.iterdir():
        ds = pydicom.dcmread(path)
        change(ds)
        ds.save_as(folder / path.name)
    return replace(made, folder=folder)


@pytest.mark.parametrize("name", [*DICOM, "nifti", "png"])
def test_sources_that_lie_elsewhere_or_show_something_else_are_refused(axial, tmp_path, name):
    def invert(ds):
        ds.PixelData = (1000 - ds.pixel_array).tobytes()

    def move(ds):
        ds.ImagePositionPatient[2] += 30

    options = {"with_source": True} if name == "nifti" else {}
    for change, why in ((invert, "slice 5 shows something else"), (move, "slice 1 lies elsewhere")):
        made = edited(axial, tmp_path / change.__name__, change)
        files, (left,) = exported(name, made.job(tmp_path / "out", **options))
        assert files == []
        assert left.why == f"its source has changed since it was scanned: {why}"


def test_thumbnails_of_another_preprocessing_tell_nothing(axial, tmp_path):
    (study,) = axial.results.studies()
    (stack,) = study.stacks
    info = {k: v for k, v in stack.info.items() if k != "maker"}
    pictures = 255 - stack.thumbnail
    old = replace(study, stacks=(replace(stack, info=info, thumbnail=pictures),))
    results = plain.results(tmp_path, [old], axial.results.run(), "old.h5")
    files, left = exported("dicom-seg", replace(axial, results=results).job(tmp_path / "out"))
    assert (len(files), left) == (1, [])


def test_frames_without_a_place_become_an_object_each(tmp_path):
    nowhere = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"))
    low = replace(make.DETECTOR.calibration, map_low=-1.0, map_high=-0.5)
    made = scanned(single(tmp_path / "s", **nowhere), replace(make.DETECTOR, calibration=low))
    files, left = exported("dicom-seg", made.job(tmp_path / "out"))
    assert (len(files), left) == (make.COUNT, [])
    found = [pydicom.dcmread(path) for path in files]
    assert len({ds.SOPInstanceUID for ds in found}) == make.COUNT
    assert sorted(ds.InstanceNumber for ds in found) == list(range(1, make.COUNT + 1))
    (capture,), _ = exported("dicom-sc", made.job(tmp_path / "out"))
    assert not pydicom.dcmread(capture).PatientOrientation
    for grid in Grid:
        _, (left,) = exported("dicom-pm", made.job(tmp_path / "out", grid=grid))
        assert "no position in the patient" in left.why


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
@pytest.mark.parametrize(
    ("modality", "sop_class"),
    [("US", UltrasoundImageStorage), ("OT", SecondaryCaptureImageStorage)],
)
def test_pictures_without_a_place_have_all_but_a_parametric_map(tmp_path, modality, sop_class):
    nowhere = ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "PixelSpacing")
    tags = {"Modality": modality, "SOPClassUID": sop_class, "FrameOfReferenceUID": None}
    made = scanned(single(tmp_path / "s", **dict.fromkeys(nowhere), **tags))
    files, (left,) = exported("dicom-pm", made.job(tmp_path / "out"))
    assert files == []
    assert "no position in the patient, which a Parametric Map needs; dicom-seg" in left.why
    for name in DICOM[1:]:
        files, left = exported(name, made.job(tmp_path / "out"))
        assert (len(files) > 0, left) == (True, [])
        done = subprocess.run(["dciodvfy", files[0]], capture_output=True, text=True, check=False)
        assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []


def test_pictures_and_volumes_are_not_scanned_again(axial, tmp_path):
    for name in ("png", "nifti"):
        assert exported(name, axial.job(tmp_path, with_source=True))[0]
    plain.results(tmp_path, plain.few_studies())
    exported("png", ExportJob([Results(tmp_path / "results.h5")], tmp_path))
    found = index([tmp_path])
    assert found.studies == ()
    kinds = {o.file.path.partition(".")[2] for o in found.set_aside if o.reason == Reason.DERIVED}
    assert kinds == {"png", "nii.gz"}
    assert {o.detail for o in found.set_aside if o.reason == Reason.DERIVED} == {"made by medscan"}


HOSTILE = {
    "PatientName": "no caret, but a \u200fmark",
    "PatientSex": "X",
    "StudyDate": "yesterday",
    "StudyTime": "",
    "FrameOfReferenceUID": None,
    "AccessionNumber": None,
    "SeriesNumber": 2**31 - 1,
    "SpecificCharacterSet": "ISO_IR 192",
}


@pytest.mark.parametrize("name", DICOM)
def test_odd_headers_make_valid_objects(tmp_path, name, caplog):
    made = scanned(single(tmp_path / "s", **HOSTILE))
    (path,), left = exported(name, made.job(tmp_path / "out"))
    ds = pydicom.dcmread(path)
    assert left == []
    assert (ds.PatientName, ds.PatientSex) == (HOSTILE["PatientName"], "")
    assert ds.ContentDate == UNKNOWN_DATE
    assert "caret" not in caplog.text
    assert path.parent == tmp_path / "out"


def test_key_slices_are_those_that_reach_the_threshold_worst_first():
    stack = plain.stack("s1", 0.9, 40)
    found = key_slices(stack)
    scores = stack.slice_score[found]
    assert len(found) == sum(stack.slice_score >= 0.5) > 1
    assert (np.diff(scores) <= 0).all()
    assert len(key_slices(plain.stack("s1", 0.9, 40, slice_threshold=0.1))) == 10
    assert key_slices(plain.stack("s1", 0.4, 40)) == [20]
    nothing = replace(stack, state=np.full(40, State.BACKGROUND, np.uint8))
    assert key_slices(nothing) == []


def test_the_rest_is_written(axial, tmp_path):
    (study,) = axial.results.studies()
    foreign = replace(study.stacks[0], key="a", info=study.stacks[0].info | {"kind": "nifti"})
    both = replace(study, stacks=(foreign, study.stacks[0]))
    results = plain.results(tmp_path, [both], axial.results.run())
    found = list(
        exporter("dicom-pm")(ExportJob([results], tmp_path / "o", Sources([axial.folder])))
    )
    assert [isinstance(f, LeftOut) for f in found] == [True, False]
    assert index([tmp_path / "o"]).studies == ()


def test_the_command_offers_what_there_is():
    assert {target.value for target in ExportFormat} == {*FORMATS, "onnx"}
    assert {grid.value for grid in Grid} == {grid.value for grid in Grid}
    assert {kind.value for kind in SegType} == {kind.value for kind in SegType}
