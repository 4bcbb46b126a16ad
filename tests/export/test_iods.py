"""Each exported object has what its IOD requires (PS3.3), which validators check only in part."""

from __future__ import annotations

import shutil
import subprocess

import highdicom
import numpy as np
import pydicom
import pytest

from medscan.choices import SegType
from tests.export import make
from tests.export.make import exported, item, multiframe, scanned, single

STUDY = (  # Patient, General Study and SOP Common: tables C.7-1, C.7-3, C.12-1
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality",
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime AccessionNumber "
    "ReferringPhysicianName StudyID SeriesNumber Manufacturer",
)
MULTI_FRAME = (  # Enhanced General Equipment, Frame of Reference, Multi-frame and Dimensions:
    # tables C.7-8b, C.7-6, C.7.6.16-1, C.7.6.17-1, and Common Instance Reference C.12-8
    "SeriesNumber Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions "
    "FrameOfReferenceUID ContentDate ContentTime InstanceNumber NumberOfFrames "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionOrganizationSequence "
    "DimensionIndexSequence ReferencedSeriesSequence",
    "PositionReferenceIndicator",
)
CONTENT = ("ContentLabel", "ContentDescription ContentCreatorName")  # table 10-12
PIXELS = "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated"
INTEGERS = f"{PIXELS} BitsStored HighBit PixelRepresentation PixelData"
SEGMENTS = (  # tables C.7-11a, C.8.20-2
    f"{INTEGERS} ImageType LossyImageCompression SegmentationType SegmentSequence",
    "",
)
MAP = (  # tables C.7.6.24-1, C.8.32-2, C.7.6.14-1
    f"{PIXELS} FloatPixelData ImageType ContentQualification BurnedInAnnotation "
    "RecognizableVisualFeatures LossyImageCompression PresentationLUTShape",
    "AcquisitionContextSequence",
)
CAPTURE = (  # tables C.8-24, C.7-9, C.7-11a
    f"{INTEGERS} ConversionType PlanarConfiguration",
    "InstanceNumber PatientOrientation",
)
REPORT = (  # tables C.17-1, C.17-2, C.17-4
    "SeriesNumber ContentDate ContentTime InstanceNumber CompletionFlag VerificationFlag ValueType "
    "ConceptNameCodeSequence ContinuityOfContent CurrentRequestedProcedureEvidenceSequence",
    "ReferencedPerformedProcedureStepSequence PerformedProcedureCodeSequence",
)
IODS = {
    "map": ("dicom-pm", {}, (STUDY, MULTI_FRAME, CONTENT, MAP)),
    **{
        kind.value: ("dicom-seg", {"seg_type": kind}, (STUDY, MULTI_FRAME, CONTENT, SEGMENTS))
        for kind in SegType
    },
    "capture": ("dicom-sc", {}, (STUDY, CAPTURE)),
    "report": ("dicom-sr", {}, (STUDY, REPORT)),
}
PLACED = {
    "PixelMeasuresSequence": "PixelSpacing SliceThickness",
    "PlaneOrientationSequence": "ImageOrientationPatient",
    "PlanePositionSequence": "ImagePositionPatient",
    "FrameContentSequence": "DimensionIndexValues",
    "DerivationImageSequence": "DerivationCodeSequence SourceImageSequence",
}
GROUPS = {  # functional groups by IOD: tables A.75-2 and A.51-2
    "map": PLACED
    | {
        "FrameAnatomySequence": "FrameLaterality AnatomicRegionSequence",
        "PixelValueTransformationSequence": "RescaleIntercept RescaleSlope RescaleType",
        "FrameVOILUTSequence": "WindowCenter WindowWidth",
        "RealWorldValueMappingSequence": "LUTLabel LUTExplanation MeasurementUnitsCodeSequence",
        "ParametricMapFrameTypeSequence": "FrameType",
    },
    "binary": PLACED | {"SegmentIdentificationSequence": "ReferencedSegmentNumber"},
    "fractional": PLACED | {"SegmentIdentificationSequence": "ReferencedSegmentNumber"},
    "labelmap": PLACED,
}
SEGMENT = (
    "SegmentNumber SegmentLabel SegmentAlgorithmType SegmentedPropertyCategoryCodeSequence "
    "SegmentedPropertyTypeCodeSequence"
)
BARE = dict.fromkeys(
    ("PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
     "ReferringPhysicianName", "SeriesNumber", "FrameOfReferenceUID", "SliceThickness")
)  # fmt: skip
SOURCES = {
    "a file a slice": single,
    "one file": multiframe,
    "hardly a header": lambda folder: single(folder, **BARE),
}


@pytest.fixture(scope="module", params=sorted(SOURCES))
def source(request, tmp_path_factory):
    return scanned(SOURCES[request.param](tmp_path_factory.mktemp("iods") / "in"))


def instance_of(made, kind, out) -> pydicom.Dataset:
    name, options, _ = IODS[kind]
    (path,), left = exported(name, made.job(out, **options))
    assert left == []
    return pydicom.dcmread(path)


def errors(path) -> list[str]:
    """What dciodvfy of dicom3tools finds, if it is installed."""
    if shutil.which("dciodvfy") is None:
        return []
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("kind", IODS)
def test_an_object_has_what_its_modules_require(source, tmp_path, kind):
    instance = instance_of(source, kind, tmp_path)
    for filled, present in IODS[kind][2]:
        for keyword in filled.split():
            assert keyword in instance
            assert not instance[keyword].is_empty, f"{keyword} is of type 1"
        for keyword in present.split():
            assert keyword in instance


@pytest.mark.parametrize("kind", GROUPS)
def test_each_frame_has_the_groups_that_its_iod_requires(source, tmp_path, kind):
    instance = instance_of(source, kind, tmp_path)
    (shared,) = instance.SharedFunctionalGroupsSequence
    assert "FrameContentSequence" not in shared
    assert len(instance.PerFrameFunctionalGroupsSequence) == instance.NumberOfFrames
    for frame in instance.PerFrameFunctionalGroupsSequence:
        for sequence, keywords in GROUPS[kind].items():
            # A group is in one place only (C.7.6.16.1.1).
            assert (sequence in shared) != (sequence in frame), sequence
            (group,) = (shared if sequence in shared else frame)[sequence].value
            for keyword in keywords.split():
                assert not group[keyword].is_empty


@pytest.mark.parametrize("kind", SegType)
def test_each_segment_says_what_it_is(source, tmp_path, kind):
    instance = instance_of(source, kind.value, tmp_path)
    for segment in instance.SegmentSequence:
        assert all(not segment[keyword].is_empty for keyword in SEGMENT.split())
    assert segment.SegmentNumber == 1
    assert segment.SegmentAlgorithmName == "seen"
    assert instance.SegmentsOverlap == "NO"
    if kind is SegType.FRACTIONAL:
        assert instance.MaximumFractionalValue == 255


def test_a_label_map_holds_the_numbers_of_the_binary_segments(source, tmp_path):
    binary = instance_of(source, "binary", tmp_path)
    label_map = instance_of(source, "labelmap", tmp_path)
    assert label_map.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert label_map.SegmentationType == "LABELMAP"
    assert [s.SegmentNumber for s in label_map.SegmentSequence] == [0, 1]
    assert label_map.PixelPaddingValue == 0
    assert (label_map.pixel_array == binary.pixel_array).all()
    assert label_map.SeriesInstanceUID != binary.SeriesInstanceUID


@pytest.mark.parametrize("kind", SegType)
def test_highdicom_reads_the_regions_of_each_slice(source, tmp_path, kind):
    """The one validator of Label Maps: dciodvfy of 2022 knows no such object."""
    instance = instance_of(source, kind.value, tmp_path)
    read = highdicom.seg.segread(instance.filename)
    assert read.segmentation_type.value == kind.value.upper()
    (number,) = read.segment_numbers
    stored = instance.pixel_array.reshape(-1, make.ROWS, make.COLUMNS)
    found = read.get_volume(segment_numbers=[number], rescale_fractional=False).array[..., 0]
    at = [np.flatnonzero([np.array_equal(f, s) for s in stored]) for f in found if f.any()]
    assert at
    assert all(len(places) for places in at)


REGION = {"CodeValue": "12738006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Brain"}
ANATOMY = (
    ({}, "Entire body", "U"),
    ({"BodyPartExamined": "CHEST"}, "Chest", "U"),
    ({"BodyPartExamined": "knee ", "Laterality": "L"}, "Knee", "L"),
    ({"BodyPartExamined": "UPPER HALF", "ImageLaterality": "B"}, "Entire body", "B"),
    ({"AnatomicRegionSequence": [item(**REGION)], "BodyPartExamined": "HEAD"}, "Brain", "U"),
    ({"AnatomicRegionSequence": [item(CodeValue="x")], "BodyPartExamined": "HEAD"}, "Head", "U"),
    ({"AnatomicRegionSequence": [], "Laterality": "left"}, "Entire body", "U"),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("tags", "region", "side"), ANATOMY)
def test_a_map_names_the_body_region_and_side_of_its_source(tmp_path, tags, region, side):
    instance = instance_of(scanned(single(tmp_path / "in", **tags)), "map", tmp_path / "out")
    (anatomy,) = instance.SharedFunctionalGroupsSequence[0].FrameAnatomySequence
    assert anatomy.AnatomicRegionSequence[0].CodeMeaning == region
    assert anatomy.FrameLaterality == side
    # Of these two only one may be there (table C.7-5a).
    assert "Laterality" not in instance
    assert errors(instance.filename) == []


def test_a_map_takes_the_anatomy_that_the_frames_of_its_source_share(tmp_path):
    made = multiframe(tmp_path / "in")
    path = made.folder / "many.dcm"
    source = pydicom.dcmread(path)
    anatomy = item(AnatomicRegionSequence=[item(**REGION)], FrameLaterality="R")
    source.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    source.save_as(path)
    instance = instance_of(scanned(made), "map", tmp_path / "out")
    (found,) = instance.SharedFunctionalGroupsSequence[0].FrameAnatomySequence
    assert found.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert found.FrameLaterality == "R"


SIDES = (
    ({"BodyPartExamined": "BREAST", "ImageLaterality": "R"}, "R"),
    ({"BodyPartExamined": "BREAST"}, ""),
    ({"BodyPartExamined": "BRAIN"}, None),
    ({"Laterality": "L"}, "L"),
    ({}, ""),
)


@pytest.mark.parametrize(("tags", "side"), SIDES)
def test_a_capture_names_the_side_of_a_paired_part(tmp_path, tags, side):
    instance = instance_of(scanned(single(tmp_path / "in", **tags)), "capture", tmp_path / "out")
    assert instance.get("Laterality") == side
    assert instance.get("BodyPartExamined") == tags.get("BodyPartExamined")
    assert errors(instance.filename) == []


ORIENTATIONS = ((["L", "FP"], ["L", "FP"]), (["LEFT", "FEET"], []), ("L", []), (None, []))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["capture", "binary"])
@pytest.mark.parametrize(("stated", "written"), ORIENTATIONS)
def test_a_picture_without_a_place_keeps_a_valid_orientation(tmp_path, kind, stated, written):
    bare = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    made = scanned(single(tmp_path / "in", **bare, Modality="CR", PatientOrientation=stated))
    name, options, _ = IODS[kind]
    path, *_ = exported(name, made.job(tmp_path / "out", **options))[0]
    assert list(pydicom.dcmread(path).get("PatientOrientation") or []) == written
    assert errors(path) == []


LOSSY = (
    ({"LossyImageCompression": "00"}, None, None),
    ({"LossyImageCompression": "01", "LossyImageCompressionRatio": 12,
      "LossyImageCompressionMethod": "ISO_10918_1"}, 12, "ISO_10918_1"),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["capture", "binary", "map"])
@pytest.mark.parametrize(("tags", "ratio", "method"), LOSSY)
def test_what_was_once_lossy_stays_so(tmp_path, kind, tags, ratio, method):
    instance = instance_of(scanned(single(tmp_path / "in", **tags)), kind, tmp_path / "out")
    assert instance.get("LossyImageCompression", "00") == tags["LossyImageCompression"]
    assert instance.get("LossyImageCompressionRatio") == ratio
    assert instance.get("LossyImageCompressionMethod") == method


def test_a_compressed_source_that_does_not_say_so_is_lossy_by_its_syntax(tmp_path):
    made = single(tmp_path / "in")
    for path in made.folder.iterdir():
        source = pydicom.dcmread(path)
        source.compress(pydicom.uid.JPEGLSNearLossless, jls_error=1)
        source.save_as(path)
    instance = instance_of(scanned(made), "map", tmp_path / "out")
    assert instance.LossyImageCompression == "01"
    assert instance.LossyImageCompressionMethod == "ISO_14495_1"
    ratio = make.ROWS * make.COLUMNS * 2 / (made.folder / "0.dcm").stat().st_size
    assert instance.LossyImageCompressionRatio == pytest.approx(ratio, abs=0.05)
