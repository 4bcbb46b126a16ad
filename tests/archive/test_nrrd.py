"""NRRD headers in every form that the format's definition names."""

import bz2
import gzip

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medscan.archive import Outcome, Reason, read_header
from medscan.archive.layout import ASSUMED
from tests.archive.volumes import (
    AFFINE,
    DATA,
    DIRECTIONS,
    LPS,
    SHAPE,
    VOXELS,
    agrees_with_itk,
    archived,
    nrrd,
    opened,
)

NAMES = {
    "i1": ["signed char", "int8", "int8_t"],
    "u1": ["uchar", "unsigned char", "uint8", "uint8_t"],
    "i2": ["short", "short int", "signed short", "signed short int", "int16", "int16_t"],
    "u2": ["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"],
    "i4": ["int", "signed int", "int32", "int32_t"],
    "u4": ["uint", "unsigned int", "uint32", "uint32_t"],
    "i8": ["longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"],
    "u8": ["ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"],
    "f4": ["float"],
    "f8": ["double"],
}  # fmt: skip
BOTH = np.stack([VOXELS, VOXELS + 100], axis=-1)


@pytest.mark.parametrize("dtype", NAMES)
def test_every_name_of_a_type_is_known(tmp_path, dtype):
    for name in NAMES[dtype]:
        data = VOXELS.astype(f"<{dtype}").tobytes(order="F")
        agrees_with_itk(nrrd(tmp_path / "v.nrrd", LPS + DIRECTIONS, data, type=name))


@pytest.mark.parametrize(
    ("encoding", "data", "fields"),
    [
        ("raw", DATA, ""),
        ("raw", b"ab" + DATA, "byte skip: 2\n"),
        ("raw", b"abcdef" + DATA, "byteskip: -1\n"),
        ("raw", b"one\ntwo\n" + DATA, "line skip: 2\n"),
        ("gzip", gzip.compress(DATA), ""),
        ("gz", gzip.compress(b"abc" + DATA), "byte skip: 3\n"),
        ("gzip", b"a line\n" + gzip.compress(DATA), "lineskip: 1\n"),
        ("ascii", b" ".join(b"%d" % v for v in VOXELS.ravel(order="F")), ""),
        ("hex", DATA.hex().encode(), ""),
    ],
    ids=["raw", "bytes", "end", "lines", "gzip", "gz-bytes", "gzip-lines", "ascii", "hex"],
)
def test_encodings_are_read_as_itk_reads_them(tmp_path, encoding, data, fields):
    path = nrrd(tmp_path / "v.nrrd", LPS + DIRECTIONS + fields, data, encoding=encoding)
    agrees_with_itk(path)


@pytest.mark.parametrize("encoding", ["bzip2", "bz2"])
def test_bzip2_which_itk_cannot_read(tmp_path, encoding):
    path = nrrd(tmp_path / "v.nrrd", LPS + DIRECTIONS, bz2.compress(DATA), encoding=encoding)
    values, affine, notes = opened(path)
    np.testing.assert_array_equal(values, VOXELS)
    np.testing.assert_allclose(affine, AFFINE)
    assert notes == ()


@pytest.mark.parametrize(
    "fields",
    [
        "space: RAS\n" + DIRECTIONS + "space origin: (1,2,3)\n",
        "space: left-anterior-superior\n" + DIRECTIONS,
        LPS + "space directions: (0,0,1) (0,1.2,0) (2,0,0)\n",
        LPS + "space directions: (-1,0,0) (0,1.2,0) (0,0,2)\n",
        "spacings: 1 1.2 2\n",
        "spacings: 1 -1.2 2\n",
        "spacings: 1 2 3\naxis mins: -5 -6 7\n",
        "spacings: 1 2 3\naxis mins: -5 -6 7\ncenterings: node node node\n",
    ],
)
def test_geometry_is_as_itk_takes_it(tmp_path, fields):
    agrees_with_itk(nrrd(tmp_path / "v.nrrd", fields))


@pytest.mark.parametrize(
    ("centering", "first", "maxs"),
    [("cell", (1.5, 3, 4.5), "4 10 18"), ("node", (1, 2, 3), "3 8 15")],
)
def test_axis_ends_give_the_spacing(tmp_path, centering, first, maxs):
    centres = " ".join([centering] * 3)
    fields = f"axis mins: 1 2 3\naxis maxs: {maxs}\ncenterings: {centres}\n"
    _, affine, notes = opened(nrrd(tmp_path / "v.nrrd", fields))
    np.testing.assert_allclose(np.diag(affine), (-1, -2, 3, 1))
    np.testing.assert_allclose(affine[:3, 3], np.multiply(first, (-1, -1, 1)))
    assert notes == (ASSUMED,)


@pytest.mark.parametrize(
    "fields",
    [
        LPS + 'space units: "microns" "microns" "microns"\n',
        LPS + 'space units: "um" "um" "um"\n',
        LPS.replace("left-posterior-superior", "LPS") + 'space units: "µm" "µm" "µm"\n',
    ],
)
def test_units_become_millimetres(tmp_path, fields):
    directions = "space directions: (1000,0,0) (0,1200,0) (0,0,2000)\n"
    fields = fields.replace("(-5,-6,7)", "(-5000,-6000,7000)")
    _, affine, _ = opened(nrrd(tmp_path / "v.nrrd", fields + directions))
    np.testing.assert_allclose(affine, AFFINE)
    _, affine, _ = opened(nrrd(tmp_path / "w.nrrd", 'spacings: 0.1 0.2 3\nunits: "cm" "cm" "mm"\n'))
    np.testing.assert_allclose(np.diag(affine), (-1, -2, 3, 1))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("encoding", ["raw", "bzip2"])
@pytest.mark.parametrize("kind", ["list", "time", "vector"])
def test_a_list_axis_may_stand_anywhere(tmp_path, place, encoding, kind):
    directions = ["(1,0,0)", "(0,1.2,0)", "(0,0,2)"]
    directions.insert(place, "none")
    kinds = ["domain"] * 3
    kinds.insert(place, kind)
    stored = np.moveaxis(BOTH, -1, place)
    data = stored.tobytes(order="F")
    path = nrrd(
        tmp_path / "v.nrrd",
        f"{LPS}space directions: {' '.join(directions)}\nkinds: {' '.join(kinds)}\n",
        bz2.compress(data) if encoding == "bzip2" else data,
        sizes=" ".join(map(str, stored.shape)),
        encoding=encoding,
    )
    values, affine, _ = opened(path)
    np.testing.assert_array_equal(values, BOTH)
    np.testing.assert_allclose(affine, AFFINE)


@pytest.mark.parametrize("space", ["LPST", "left-posterior-superior-time"])
def test_time_is_an_axis_beyond_space(tmp_path, space):
    fields = (
        f"space: {space}\nspace origin: (-5,-6,7,0)\n"
        "space directions: (1,0,0,0) (0,1.2,0,0) (0,0,2,0) (0,0,0,3)\n"
    )
    path = nrrd(tmp_path / "v.nrrd", fields, BOTH.tobytes(order="F"), sizes="3 4 5 2")
    values, affine, _ = opened(path)
    np.testing.assert_array_equal(values, BOTH)
    np.testing.assert_allclose(affine, AFFINE)


def test_one_slice_in_space_has_a_normal(tmp_path):
    fields = "space: LPS\nspace directions: (0,1,0) (0,0,2)\nspace origin: (1,2,3)\n"
    data = VOXELS[..., 0].tobytes(order="F")
    values, affine, _ = opened(nrrd(tmp_path / "v.nrrd", fields, data, sizes="3 4"))
    np.testing.assert_array_equal(values, VOXELS[..., 0])
    np.testing.assert_allclose(affine[:3, :3], [[0, 0, -1], [-1, 0, 0], [0, 2, 0]])


def test_colours_are_read(tmp_path):
    colour = np.arange(180, dtype="u1").reshape(3, *SHAPE)
    fields = f"kinds: RGB-color domain domain domain\n{LPS}" + DIRECTIONS.replace(": ", ": none ")
    path = nrrd(
        tmp_path / "v.nrrd", fields, colour.tobytes(order="F"), type="uchar", sizes="3 3 4 5"
    )
    from medscan.imaging.volume import open_volume

    file = archived(path)
    stored = open_volume(file, read_header(file).kind, 1 << 20).voxels[:, :, 2]
    np.testing.assert_array_equal([stored[c] for c in "RGB"], colour[..., 2])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, colour)


@pytest.mark.parametrize("name", ["x.raw", "./x.raw", "././x.raw"])
def test_voxels_beside_the_header(tmp_path, name):
    (tmp_path / "x.raw").write_bytes(DATA)
    path = nrrd(tmp_path / "v.nhdr", f"{LPS}{DIRECTIONS}data file: {name}\n", b"")
    agrees_with_itk(path)


def test_a_name_of_voxels_in_another_language(tmp_path):
    (tmp_path / "Schädel.raw").write_bytes(DATA)
    agrees_with_itk(nrrd(tmp_path / "v.nhdr", f"{LPS}{DIRECTIONS}data file: Schädel.raw\n", b""))


TENSOR = "kinds: 3D-symmetric-matrix domain domain domain\nspace: LPS\n"


@pytest.mark.parametrize(
    ("fields", "more", "reason", "detail"),
    [
        ("", {"encoding": "zrl"}, Reason.UNSUPPORTED, "encoded in a way"),
        ("", {"type": "block"}, Reason.UNSUPPORTED, "not numbers"),
        ("", {"sizes": "60"}, Reason.UNSUPPORTED, "1 of its axes"),
        (LPS + "space directions: none none (0,0,1)\n", {}, Reason.UNSUPPORTED, "1 of its axes"),
        (LPS + "space directions: (1,0,0) none (0,0,1)\n", {}, Reason.UNSUPPORTED, "a list of"),
        ("space: scanner-xyz\n" + DIRECTIONS, {}, Reason.UNSUPPORTED, "patient coordinates"),
        (TENSOR + DIRECTIONS.replace(": ", ": none "), {"sizes": "6 1 2 5"}, Reason.UNSUPPORTED,
         "tensors"),
        ("data file: LIST\n", {}, Reason.UNSUPPORTED, "several files"),
        ("data file: v%03d.raw 1 5 1\n", {}, Reason.UNSUPPORTED, "several files"),
        ("data file: ../v.raw\n", {}, Reason.UNSUPPORTED, "outside its own folder"),
        ("", {"type": "quux"}, Reason.CORRUPT, "its type"),
        ("endian: middle\n", {}, Reason.CORRUPT, "byte order"),
        ("", {"sizes": "3 4 6"}, Reason.TRUNCATED, "declared"),
    ],
)  # fmt: skip
def test_what_is_not_read_says_why(tmp_path, fields, more, reason, detail):
    found = read_header(archived(nrrd(tmp_path / "v.nrrd", fields, **more)))
    assert isinstance(found, Outcome)
    assert found.reason is reason
    assert detail in found.detail
