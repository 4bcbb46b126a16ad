"""Elements read without pydicom have the values that pydicom reads."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medscan.archive.elements import Items, read_elements

from .conftest import dataset

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def item(**tags):
    ds = Dataset()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def enhanced(frames, syntax):
    ds = dataset(NumberOfFrames=frames, PixelData=bytes(48 * frames))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[item(PixelSpacing=["0.50", "7e-1"], SliceThickness=2)])
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, -1.5, n])],
            FrameContentSequence=[
                item(
                    StackID="größer",
                    DimensionIndexValues=[1, n, 70000],
                    FrameAcquisitionNumber=3,
                    FrameAcquisitionDateTime="20260131101112.5",
                )
            ],
            MRDiffusionSequence=[
                item(
                    DiffusionBValue=1000.5,
                    DiffusionGradientDirectionSequence=[
                        item(DiffusionGradientOrientation=[0.6, 0.8, 0.0])
                    ],
                )
            ],
        )
        for n in range(frames)
    ]
    return ds


def leave_undefined(ds):
    """Have all sequences and items of a data set written with delimiters in place of lengths."""
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for inner in element.value:
                inner.is_undefined_length_sequence_item = True
                leave_undefined(inner)


def read(ds, path):
    ds.save_as(path, enforce_file_format=True)
    wanted = frozenset(int(element.tag) for element in ds)
    with path.open("rb") as stream:
        found = read_elements(stream, stream.read(1024), wanted)
    return found and found[0]


def plain(value):
    """A value of either reader as Python's own lists, texts and numbers."""
    if isinstance(value, (Items, pydicom.Sequence)):
        tags = [tag for one in value for tag in one.keys()]  # noqa: SIM118 - not a dict
        return [{int(t): plain(_value(one, t)) for t in tags if t in one} for one in value]
    if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
        return [plain(part) for part in value]
    return (str(value), float(value)) if isinstance(value, (int, float)) else value


def _value(ds, tag):
    found = ds.get(Tag(tag) if isinstance(ds, Dataset) else int(tag))
    return getattr(found, "value", found)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_functional_groups_are_read_as_pydicom_reads_them(tmp_path, syntax, undefined):
    ds = enhanced(3, syntax)
    if undefined:
        leave_undefined(ds)
    elements = read(ds, tmp_path / "e.dcm")
    expected = pydicom.dcmread(tmp_path / "e.dcm")
    for keyword in GROUPS:
        assert isinstance(elements.get(keyword), Items)
        assert plain(elements.get(keyword)) == plain(expected[keyword].value)
    frame = elements.get(GROUPS[1])[2]
    assert frame.get("FrameContentSequence")[0].get("StackID") == "größer"
    assert frame.get("MRDiffusionSequence")[0].get("DiffusionBValue") == 1000.5


def test_long_headers_are_read_too(tmp_path):
    elements = read(enhanced(2000, ExplicitVRLittleEndian), tmp_path / "long.dcm")
    assert (tmp_path / "long.dcm").stat().st_size > 2**19
    assert len(elements.get(GROUPS[1])) == 2000


@pytest.mark.parametrize("length", [7, 40, 2**31])
def test_an_item_that_contradicts_its_sequence_is_left_to_pydicom(tmp_path, length):
    elements = read(enhanced(1, ExplicitVRLittleEndian), tmp_path / "e.dcm")
    vr, value = elements._raw[Tag(GROUPS[1])]
    elements._raw[Tag(GROUPS[1])] = vr, value[:4] + length.to_bytes(4, "little") + value[8:]
    try:
        found = elements.get(GROUPS[1])
    except (EOFError, OSError, ValueError):
        return
    assert not isinstance(found, Items)
