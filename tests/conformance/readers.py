"""The first frame of DICOM files as other readers decode it: stored values, or RGB.

GDCM can abort its process, and reads in one of its own: this module, run as a program.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import convert_color_space, get_decoder

PROGRAMS = {"4.5": "dcmdjpeg", "4.7": "dcmdjpeg", "4.8": "dcmdjpls", "5": "dcmdrle"}
"""DCMTK's decompressors, by how a transfer syntax goes on behind 1.2.840.10008.1.2."""


def stored_by_medscan(file) -> np.ndarray:
    """What medscan decodes before it rescales, hides padding and looks palettes up."""
    for keyword in (
        "RescaleSlope",
        "RescaleIntercept",
        "ModalityLUTSequence",
        "PixelPaddingValue",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    ):
        if keyword in file.header:
            del file.header[keyword]
    file.mosaic = None
    if file.photometric == "PALETTE COLOR":
        file.photometric = "MONOCHROME2"
    pixels = file.plane(0).pixels
    # Colour of more than 8 bits is scaled to 8, which models are fed with.
    deep = pixels.ndim == 3 and file.bits > 8
    return np.rint(pixels * ((2.0**file.bits - 1) / 255)) if deep else pixels


def stored_by_pydicom(path: Path) -> np.ndarray | None:
    """By pydicom and the plugins that are installed, but GDCM, which is a reader of its own."""
    ds = pydicom.dcmread(path, force=True)
    try:
        syntax = ds.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
        decoder = get_decoder(syntax)
    except (AttributeError, NotImplementedError):
        return None
    plugins = [p for p in decoder.available_plugins if p != "gdcm"]
    for plugin in plugins if syntax.is_encapsulated else [""]:
        try:
            return decoder.as_array(ds, index=0, decoding_plugin=plugin)[0]
        except (AttributeError, NotImplementedError, RuntimeError, ValueError, KeyError, TypeError):
            continue
    return None


def stored_by_dcmtk(path: Path, folder: Path) -> np.ndarray | None:
    """Made native by DCMTK, then read as it says; of little-endian files nothing would be left."""
    head = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    syntax = str(head.file_meta.get("TransferSyntaxUID", ""))
    rest = syntax.removeprefix("1.2.840.10008.1.2").removeprefix(".")
    if rest.startswith(("4.9", "4.2")) or rest in ("", "1"):
        return None
    program = PROGRAMS.get(rest[:3], PROGRAMS.get(rest, "dcmconv"))
    native = folder / "native.dcm"
    options = ["+te"] if program == "dcmconv" else []
    made = subprocess.run([program, "-q", *options, path, native], capture_output=True, check=False)
    return None if made.returncode else stored_by_pydicom(native)


def stored_by_gdcm(paths: list[Path], folder: Path) -> list[np.ndarray | None]:
    """GDCM's frames; None where it reads none, or aborts."""
    (folder / "paths").write_text("\n".join(map(str, paths)))
    start = 0
    while start < len(paths):
        command = [sys.executable, "-m", "tests.conformance.readers", str(folder), str(start)]
        done = subprocess.run(command, capture_output=True, check=False)
        reached = int((folder / "reached").read_text())
        start = len(paths) if done.returncode == 0 else reached + 1
    found = [folder / f"{n}.npy" for n in range(len(paths))]
    return [np.load(f) if f.exists() else None for f in found]


def _read(path: str) -> np.ndarray | None:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    if not reader.Read():
        return None
    image = reader.GetImage()
    form = image.GetPixelFormat()
    columns, rows = image.GetDimension(0), image.GetDimension(1)
    samples, bits = form.GetSamplesPerPixel(), form.GetBitsAllocated()
    data = image.GetBuffer().encode("utf-8", "surrogateescape")
    if bits not in (8, 16, 32):
        return None
    kind = np.dtype(f"<{'ui'[form.GetPixelRepresentation()]}{bits // 8}")
    values = np.frombuffer(data, kind)[: rows * columns * samples]
    if samples == 1:
        return values.reshape(rows, columns)
    if image.GetPlanarConfiguration():
        values = values.reshape(samples, rows, columns).transpose(1, 2, 0)
    colour = values.reshape(rows, columns, samples)
    photometric = str(image.GetPhotometricInterpretation()).strip()
    is_ybr = photometric in ("YBR_FULL", "YBR_FULL_422")
    return convert_color_space(colour, "YBR_FULL", "RGB") if is_ybr else colour


if __name__ == "__main__":
    folder, start = Path(sys.argv[1]), int(sys.argv[2])
    for number, path in enumerate((folder / "paths").read_text().split("\n")):
        if number >= start:
            (folder / "reached").write_text(str(number))
            frame = _read(path)
            if frame is not None:
                np.save(folder / f"{number}.npy", frame)
