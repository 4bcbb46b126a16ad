"""MetaImage headers, as ITK reads them, and where it does not."""

import zlib

import numpy as np
import pytest

from medscan.archive import Outcome, Reason, read_header
from tests.archive.volumes import DATA, VOXELS, agrees_with_itk, archived, meta_image, opened

SPACING = "ElementSpacing = 1 1.2 2\n"


@pytest.mark.parametrize(
    "fields",
    [
        SPACING,
        "TransformMatrix = 0 1 0 1 0 0 0 0 -1\nOffset = 1 2 3\nCenterOfRotation = 5 6 7\n"
        + SPACING,
        "Orientation = 0 1 0 1 0 0 0 0 -1\nOrigin = 1 2 3\n" + SPACING,
        "Position = 1 2 3\nElementSize = 1 1.2 2\n",
        "ElementSize = 3 3 3\n" + SPACING,
        "ElementSpacing = -1 1.2 2\n",
        "HeaderSize = -1\n",
    ],
)
def test_geometry_is_as_itk_takes_it(tmp_path, fields):
    agrees_with_itk(meta_image(tmp_path / "v.mha", fields))


@pytest.mark.parametrize("field", ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])
def test_byte_order(tmp_path, field):
    data = VOXELS.astype(">i2").tobytes(order="F")
    agrees_with_itk(meta_image(tmp_path / "v.mha", f"{field} = True\n", data))


@pytest.mark.parametrize(
    ("type", "dtype"),
    [("CHAR", "i1"), ("UCHAR", "u1"), ("USHORT", "u2"), ("INT", "i4"), ("UINT", "u4"),
     ("LONG", "i4"), ("ULONG", "u4"), ("LONG_LONG", "i8"), ("FLOAT", "f4"), ("DOUBLE", "f8")],
)  # fmt: skip
def test_types(tmp_path, type, dtype):
    data = VOXELS.astype(dtype).tobytes(order="F")
    agrees_with_itk(meta_image(tmp_path / "v.mha", data=data, type=type))


def test_packed_voxels(tmp_path):
    packed = zlib.compress(DATA)
    fields = f"CompressedData = True\nCompressedDataSize = {len(packed)}\n"
    agrees_with_itk(meta_image(tmp_path / "v.mha", fields, packed))
    (tmp_path / "x.zraw").write_bytes(packed)
    agrees_with_itk(meta_image(tmp_path / "w.mhd", fields, b"", voxels="./x.zraw"))


def test_numbers_as_text(tmp_path):
    text = b" ".join(b"%d" % v for v in VOXELS.ravel(order="F"))
    values, _, _ = opened(meta_image(tmp_path / "v.mha", "BinaryData = False\n", text))
    np.testing.assert_array_equal(values, VOXELS)


@pytest.mark.parametrize("name", ["x.raw", "./x.raw", ".//x.raw"])
def test_voxels_beside_the_header(tmp_path, name):
    (tmp_path / "x.raw").write_bytes(b"head" + DATA)
    agrees_with_itk(meta_image(tmp_path / "v.mhd", "HeaderSize = 4\n", b"", voxels=name))


@pytest.mark.parametrize(("unit", "size"), [("um", 1000), ("mm", 1), ("cm", 0.1)])
def test_units_become_millimetres(tmp_path, unit, size):
    spacing = " ".join(str(v * size) for v in (1, 1.2, 2))
    fields = f"DistanceUnits = {unit}\nElementSpacing = {spacing}\nOffset = 0 0 {3 * size}\n"
    _, affine, _ = opened(meta_image(tmp_path / "v.mha", fields))
    np.testing.assert_allclose(np.diag(affine), (-1, -1.2, 2, 1))
    assert affine[2, 3] == pytest.approx(3)


@pytest.mark.parametrize(
    ("fields", "more", "detail"),
    [
        ("", {"type": "OTHER"}, "not numbers"),
        ("", {"type": "FLOAT_ARRAY"}, "not numbers"),
        ("ElementNumberOfChannels = 2\n", {}, "2 numbers a voxel"),
        ("HeaderSize = -1\nCompressedData = True\n", {}, "no stated start"),
        ("", {"voxels": "LIST"}, "several files"),
        ("", {"voxels": "v%02d.raw 1 5 1"}, "several files"),
        ("", {"voxels": "sub/x.raw"}, "outside its own folder"),
        ("", {"voxels": ".\\\\x.raw"}, "outside its own folder"),
    ],
)
def test_what_is_not_read_says_why(tmp_path, fields, more, detail):
    found = read_header(archived(meta_image(tmp_path / "v.mha", fields, **more)))
    assert isinstance(found, Outcome)
    assert found.reason is Reason.UNSUPPORTED
    assert detail in found.detail
