"""Encoders of single frames, by transfer syntax: what is installed of them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg.utils
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from tests.imaging.make import header, write_dicom

IMPLICIT, EXPLICIT, DEFLATED, BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG)
RLE = "1.2.840.10008.1.2.5"
BASELINE, EXTENDED, SPECTRAL, PROGRESSIVE, LOSSLESS, LOSSLESS_1, JPEG_LS, NEAR, J2K, J2K_LOSSY = (
    f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91)
)
HT, HT_RPCL, HT_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
INTEGERS = ((8, 8), (16, 8), (16, 12), (16, 16))
Encode = Callable[[np.ndarray, Any], list[bytes]]
"""`encode(cells, combination)`: a codestream of each frame of (frames, rows, columns[, 3])."""


@dataclass(frozen=True)
class Encoder:
    """What an encoder can write.

    Parameters
    ----------
    encode : callable or None
    photometrics : tuple of str
    grey, colour : tuple of (int, int)
        Bits allocated and stored.
    lossy : bool
    whole_cells : bool
        Every bit of the cell is kept.
    planar : bool
        Colour by plane exists in it.
    first : bool
        Others of the same transfer syntax write fewer combinations.
    """

    encode: Encode | None
    photometrics: tuple[str, ...]
    grey: tuple[tuple[int, int], ...] = INTEGERS
    colour: tuple[tuple[int, int], ...] = ((8, 8),)
    lossy: bool = False
    whole_cells: bool = True
    planar: bool = False
    first: bool = True

    @property
    def depths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Of colour, then of grey."""
        return self.colour, self.grey


@cache
def encoders() -> dict[tuple[str, str], Encoder]:
    """Every installed encoder, by transfer syntax and its own name."""
    deep = ((16, 12), (16, 16))
    native_colour = ("RGB", "YBR_FULL", "YBR_FULL_422")
    lossless = (*GREY, "RGB", "YBR_FULL")
    found = {
        (syntax, "numpy"): Encoder(
            None, (*GREY, *native_colour), ((1, 1), *INTEGERS, (32, 32)), ((8, 8),), planar=True
        )
        for syntax in NATIVE
    }
    found[RLE, "pydicom"] = Encoder(_rle, lossless, planar=True)
    found[JPEG_LS, "pyjpegls"] = Encoder(_jpeg_ls, lossless, planar=True)
    found[NEAR, "pyjpegls"] = Encoder(
        partial(_jpeg_ls, lossy_error=2), lossless[:2], lossy=True, whole_cells=False
    )
    found[J2K, "openjpeg"] = Encoder(_openjpeg, (*lossless, "YBR_RCT"))
    found[J2K_LOSSY, "openjpeg"] = Encoder(
        partial(_openjpeg, compression_ratios=[4]),
        (*GREY[:2], "YBR_ICT"),
        lossy=True,
        whole_cells=False,
    )
    found[HT, "OpenJPH"] = Encoder(_openjph, (*lossless, "YBR_RCT"))
    found[HT_RPCL, "OpenJPH"] = Encoder(partial(_openjph, tlm=True), (*lossless, "YBR_RCT"))
    found[HT_LOSSY, "OpenJPH"] = Encoder(
        partial(_openjph, reversible=False), (*GREY[:2], "YBR_ICT"), lossy=True, whole_cells=False
    )
    rgb16 = {
        (syntax, f"{name}, deep"): Encoder(able.encode, ("RGB",), (), deep, planar=able.planar)
        for (syntax, name), able in found.items()
        if "RGB" in able.photometrics
    }
    return found | rgb16 | _dcmtk() | _gdcm()


def _dcmtk() -> dict[tuple[str, str], Encoder]:
    if not all(map(shutil.which, ("dcmcjpeg", "dcmcjpls", "dcmcrle"))):
        return {}
    grey, colour = GREY[:2], ("RGB", "YBR_FULL", "YBR_FULL_422")
    found = {}
    for syntax, process in ((LOSSLESS, "+el"), (LOSSLESS_1, "+e1")):
        encode = partial(_by_command, "dcmcjpeg", process)
        found[syntax, "DCMTK"] = Encoder(encode, (*GREY, "RGB", "YBR_FULL"))
    eight, twelve = ((8, 8),), ((8, 8), (16, 12))
    for syntax, process, depths in (
        (BASELINE, "+eb", eight),
        (EXTENDED, "+ee", twelve),
        (SPECTRAL, "+es", twelve),
        (PROGRESSIVE, "+ep", twelve),
    ):
        encode = partial(_by_command, "dcmcjpeg", process)
        found[syntax, "DCMTK"] = Encoder(
            encode, (*grey, *colour), depths, lossy=True, whole_cells=False
        )
    once = {"first": False}
    found[JPEG_LS, "DCMTK"] = Encoder(
        partial(_by_command, "dcmcjpls", "+el"), (GREY[1], "RGB"), **once
    )
    found[NEAR, "DCMTK"] = Encoder(
        partial(_by_command, "dcmcjpls", "+en"), (GREY[1], "RGB"), lossy=True, whole_cells=False
    )
    found[RLE, "DCMTK"] = Encoder(partial(_by_command, "dcmcrle", "+un"), (GREY[1], "RGB"), **once)
    return found


def _gdcm() -> dict[tuple[str, str], Encoder]:
    try:
        import gdcm
    except ImportError:
        return {}
    kinds = {
        LOSSLESS_1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        JPEG_LS: gdcm.TransferSyntax.JPEGLSLossless,
        J2K: gdcm.TransferSyntax.JPEG2000Lossless,
        RLE: gdcm.TransferSyntax.RLELossless,
    }
    return {
        (syntax, "GDCM"): Encoder(partial(_by_gdcm, kind), (GREY[1], "RGB"), first=False)
        for syntax, kind in kinds.items()
    }


def _rle(cells: np.ndarray, _: Any) -> list[bytes]:
    streams = []
    for frame in cells:
        ds = header(frame)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(RLELossless, generate_instance_uid=False)
        streams.append(next(generate_frames(ds.PixelData, number_of_frames=1)))
    return streams


def _jpeg_ls(cells: np.ndarray, c: Any, lossy_error: int = 0) -> list[bytes]:
    mode = {"interleave_mode": 0 if c.planar else 2} if c.colour else {}
    frames = cells.transpose(0, 3, 1, 2) if c.colour and c.planar else cells
    # pyjpegls writes words whose values fit into 8 bits as if they were bytes.
    frames = np.ascontiguousarray(frames, "u1" if frames.max() < 256 else frames.dtype)
    return [bytes(jpeg_ls.encode_array(frame, lossy_error, **mode)) for frame in frames]


def _openjpeg(cells: np.ndarray, c: Any, **options: Any) -> list[bytes]:
    """As signed numbers where the pixels are and fill their cell; else all bits without a sign."""
    frames, bits = cells, c.allocated
    if c.signed and not c.overlay and c.high_bit < c.stored:
        frames, bits = cells.view(f"i{cells.dtype.itemsize}"), c.stored
    elif options:
        bits = c.stored
    transformed = c.photometric in ("YBR_RCT", "YBR_ICT")
    space = 2 if not c.colour else 3 if c.photometric == "YBR_FULL" else 1
    return [
        openjpeg.utils.encode_array(
            np.ascontiguousarray(f),
            bits_stored=bits,
            photometric_interpretation=space,
            use_mct=transformed,
            **options,
        )
        for f in frames
    ]


def _openjph(cells: np.ndarray, c: Any, **options: Any) -> list[bytes]:
    """As `_openjpeg`; in the order resolution, position, component, layer."""
    signed = c.signed and not c.overlay and c.high_bit < c.stored
    frames = cells.view(f"i{cells.dtype.itemsize}") if signed else cells
    transformed = c.photometric in ("YBR_RCT", "YBR_ICT")
    return [
        imagecodecs.htj2k_encode(np.ascontiguousarray(frame), rgb=transformed, **options)
        for frame in frames
    ]


def _native_file(folder: Path, cells: np.ndarray, c: Any) -> Path:
    """The cells as a native file, whose header names what an encoder must keep."""
    whole = 8 * cells.dtype.itemsize
    fills = c.overlay or c.high_bit >= c.stored or c.signed
    # GDCM writes no 8 of 16 bits.
    bits = whole if fills or (c.encoder == "GDCM" and c.stored <= 8) else c.stored
    ds = header(cells[0], NumberOfFrames=len(cells), PixelData=cells.tobytes())
    ds.BitsStored, ds.HighBit = bits, bits - 1
    write_dicom(folder / "native.dcm", ds, ExplicitVRLittleEndian)
    return folder / "native.dcm"


_LOSSLESS_OPTIONS = ("+e1", "+el")
_COLOURS = {"RGB": ["+cr"], "YBR_FULL": ["+cy", "+s4"], "YBR_FULL_422": ["+cy", "+s2"]}
_memory: dict[tuple[Any, ...], list[bytes]] = {}


def _by_command(command: str, process: str, cells: np.ndarray, c: Any) -> list[bytes]:
    """Frames as a program of DCMTK encodes them."""
    lossy_jpeg = command == "dcmcjpeg" and process not in _LOSSLESS_OPTIONS
    options = [process, *(_COLOURS[c.photometric] if c.colour and lossy_jpeg else [])]
    key = command, *options, c.stored, cells.tobytes()
    if key not in _memory:
        with tempfile.TemporaryDirectory() as folder:
            native, packed = _native_file(Path(folder), cells, c), Path(folder) / "packed.dcm"
            subprocess.run([command, "-q", *options, native, packed], check=True)
            _memory[key] = _frames(packed)
    return _memory[key]


def _by_gdcm(kind: Any, cells: np.ndarray, c: Any) -> list[bytes]:
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        native, packed = _native_file(Path(folder), cells, c), Path(folder) / "packed.dcm"
        reader = gdcm.ImageReader()
        reader.SetFileName(str(native))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(kind))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return _frames(packed)


def _frames(path: Path) -> list[bytes]:
    ds = pydicom.dcmread(path)
    return list(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))))
