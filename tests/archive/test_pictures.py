"""Headers of pictures: what EXIF says, without decoding pixels."""

from __future__ import annotations

import zlib

import pytest
from PIL import ExifTags, Image, ImageFile

from .conftest import outcome

TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6


@pytest.mark.parametrize(
    ("kind", "exif"),
    [("PNG", TURNED), ("JPEG", TURNED), ("PNG", None), ("JPEG", None), ("TIFF", None)],
)
def test_no_pixels_are_decoded(tmp_path, monkeypatch, kind, exif):
    Image.new("L", (5, 3)).save(tmp_path / "x", kind, **({"exif": exif} if exif else {}))

    def load(self):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    (layer,) = outcome(tmp_path / "x").layers
    assert (layer.rows, layer.columns) == ((5, 3) if exif else (3, 5))


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    Image.new("L", (5, 3)).save(tmp_path / "x", "PNG")
    content, data = (tmp_path / "x").read_bytes(), b"eXIf" + TURNED.tobytes()[6:]
    chunk = (len(data) - 4).to_bytes(4) + data + zlib.crc32(data).to_bytes(4)
    end = content.index(b"IEND") - 4
    (tmp_path / "x").write_bytes(content[:end] + chunk + content[end:])
    (layer,) = outcome(tmp_path / "x").layers
    assert (layer.rows, layer.columns) == (5, 3)
