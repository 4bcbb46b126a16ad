"""One picture in every encoding that medscan decodes, and what each comes back as.

    python -m tests.decoding.matrix

prints how many combinations were made, equal to the picture, and refused by name. Combinations are
of transfer syntax, encoder, photometric interpretation, bits allocated and stored, sign, High Bit,
planar configuration, frames, and overlays in unused bits: those that PS3.5 8.1 and 8.2 allow, or
allowed once. GDCM and DCMTK encode too where they are installed.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space

from medscan.decoding import DicomFile, file_errors
from medscan.errors import FileError
from tests.imaging.make import MAX_FILE_BYTES, header, write_dicom

from .encoders import BIG, NATIVE, encoders

GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
DEPTHS = ((1, 1), (8, 8), (16, 8), (16, 12), (16, 16), (32, 32))
ROWS, COLUMNS, FRAMES = 40, 48, 3
TOLERANCE = 0.05
"""Of the range, for lossy encodings; a turned sign, inversion or swapped channel is far more."""


class Combination(NamedTuple):
    """One way to write the picture."""

    syntax: str
    encoder: str
    photometric: str
    allocated: int
    stored: int
    signed: bool
    high_bit: int
    planar: int
    frames: int
    overlay: bool

    @property
    def colour(self) -> bool:
        return self.photometric not in GREY


def combinations() -> Iterator[Combination]:
    """Every legal combination that the installed encoders can write."""
    for (syntax, encoder), able in encoders().items():
        for photometric, (allocated, stored) in itertools.product(able.photometrics, DEPTHS):
            if (allocated, stored) not in able.depths[photometric in GREY]:
                continue
            for rest in itertools.product(
                (False, True),
                sorted({stored - 1, allocated - 1}),
                (0, 1),
                (1, FRAMES),
                (False, True),
            ):
                found = Combination(syntax, encoder, photometric, allocated, stored, *rest)
                if _is_legal(found, able):
                    yield found


def _is_legal(c: Combination, able) -> bool:
    unused = c.stored < c.allocated
    return (
        not (c.signed and (c.colour or c.photometric == GREY[2] or able.lossy or c.stored == 1))
        and not (c.planar and (not c.colour or not able.planar))
        and not (c.planar and c.photometric == "YBR_FULL_422")
        and not (c.overlay and (not unused or not able.whole_cells))
        and not (c.high_bit >= c.stored and not able.whole_cells)
        # 65,536 colours are a palette of their own, 2 are none.
        and not (c.photometric == GREY[2] and c.stored not in (8, 12))
        # Other encoders than the first: the same picture once.
        and (able.first or c.frames > 1)
        and (able.first or c.photometric not in (GREY[0], GREY[2]))
    )


def picture(c: Combination) -> np.ndarray:
    """Values of the pixels: (frames, rows, columns) or (frames, rows, columns, 3)."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    top = (1 << c.stored) - 1
    if c.colour:
        # Blocks of one colour each, so that subsampled chroma loses nothing.
        blocks = [(x // 16 * 5 + y // 16 * 3 + f + n * 7) % 8 / 7 for f in range(c.frames)
                  for n in range(3)]  # fmt: skip
        levels = np.reshape(blocks, (c.frames, 3, ROWS, COLUMNS)).transpose(0, 2, 3, 1)
        return np.rint(levels * top).astype(np.int64)
    waves = [(x / (COLUMNS - 1) + y / (ROWS - 1)) / 2 * (f + 2) / (c.frames + 1) for f in
             range(c.frames)]  # fmt: skip
    levels = np.stack(waves)
    values = np.rint(levels / levels.max() * top).astype(np.int64)
    return values - (top + 1) // 2 if c.signed else values


def cells(c: Combination, values: np.ndarray) -> np.ndarray:
    """The values placed in unsigned cells of the bits allocated, overlays around them."""
    shift = c.high_bit + 1 - c.stored
    placed = (values & ((1 << c.stored) - 1)) << shift
    if c.signed and not c.overlay and not shift:
        placed = values & ((1 << c.allocated) - 1)  # the sign fills the cell, as writers do it
    if c.overlay:
        pixel = ((1 << c.stored) - 1) << shift
        drawn = np.indices(values.shape).sum(0) % 3 == 0
        placed = np.where(drawn, placed | (((1 << c.allocated) - 1) & ~pixel), placed)
    return placed.astype(f"u{max(1, c.allocated // 8)}")


def dataset(c: Combination, values: np.ndarray) -> Dataset:
    """The picture as a DICOM data set."""
    placed = cells(c, _stored_colours(c, values))
    ds = header(
        placed[0],
        PhotometricInterpretation=c.photometric,
        BitsAllocated=c.allocated,
        BitsStored=c.stored,
        HighBit=c.high_bit,
        PixelRepresentation=int(c.signed),
        NumberOfFrames=c.frames,
    )
    if c.colour:
        ds.PlanarConfiguration = c.planar
    if c.photometric == GREY[2]:
        _add_palette(ds, 1 << c.stored)
    if c.syntax in NATIVE:
        ds.PixelData = _native(c, placed)
        ds["PixelData"].VR = "OB" if c.allocated == 8 else "OW"
        return ds
    encode = encoders()[c.syntax, c.encoder].encode
    ds.PixelData = encapsulate(encode(placed, c), has_bot=c.frames > 1)
    ds["PixelData"].VR = "OB"
    return ds


def _stored_colours(c: Combination, values: np.ndarray) -> np.ndarray:
    if c.photometric in ("YBR_FULL", "YBR_FULL_422") and not encoders()[c.syntax, c.encoder].lossy:
        return convert_color_space(values.astype(np.uint8), "RGB", "YBR_FULL").astype(np.int64)
    return values  # the encoder converts


def _native(c: Combination, placed: np.ndarray) -> bytes:
    if c.allocated == 1:
        return np.packbits(placed.ravel().astype(bool), bitorder="little").tobytes()
    if c.photometric == "YBR_FULL_422":
        y0, y1 = placed[..., ::2, 0], placed[..., 1::2, 0]
        placed = np.stack([y0, y1, placed[..., ::2, 1], placed[..., ::2, 2]], axis=-1)
    elif c.planar:
        placed = placed.transpose(0, 3, 1, 2)
    order = ">" if c.syntax == BIG else "<"
    return placed.astype(placed.dtype.newbyteorder(order)).tobytes()


def _ramps(count: int) -> np.ndarray:
    ramp = np.linspace(0, 65535, count)
    return np.stack([ramp, 65535 - ramp, (ramp * 3) % 65536], axis=-1).astype("<u2")


def _add_palette(ds: Dataset, count: int) -> None:
    for name, entries in zip(("Red", "Green", "Blue"), _ramps(count).T, strict=True):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [count, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", entries.tobytes())


def expected(c: Combination, values: np.ndarray) -> np.ndarray:
    """What must come back: values, or RGB in [0, 255]."""
    if c.photometric == GREY[2]:
        return _ramps(1 << c.stored)[values] / 257
    return values * (255 / ((1 << c.stored) - 1)) if c.colour else values


def outcome(c: Combination, folder: Path) -> str:
    """Return "equal", "refused: REASON", or how it is unequal."""
    values = picture(c)
    archived = write_dicom(folder / "picture.dcm", dataset(c, values), c.syntax)
    try:
        with file_errors():
            file = DicomFile(archived, MAX_FILE_BYTES)
            planes = [file.plane(n) for n in range(c.frames)]
    except FileError as error:
        return f"refused: {error.reason}: {error}"
    found, wanted = np.stack([plane.pixels for plane in planes]), expected(c, values)
    if found.shape != wanted.shape:
        return f"has the shape {found.shape}"
    if any(plane.inverted != (c.photometric == GREY[0]) for plane in planes):
        return "inverted"
    most = 0.01  # of 255, the rounding of palettes and of colours of more than 8 bits
    if encoders()[c.syntax, c.encoder].lossy:
        most = TOLERANCE * float(np.ptp(wanted))
    elif c.photometric.startswith("YBR_FULL"):
        most = 2.0  # YCbCr of 8 bits rounds twice
    elif not c.colour and c.photometric != GREY[2]:
        most = 1e-7 * float(np.abs(wanted).max())  # the precision of 32 bits
    off = np.abs(found - wanted)
    # Where chroma was left out, it is interpolated across the edges of the blocks.
    spread = c.photometric == "YBR_FULL_422" and encoders()[c.syntax, c.encoder].lossy
    off = float(off.mean() if spread else off.max())
    return "equal" if off <= most else f"off by {off:g} of {np.ptp(wanted):g}"


def outcomes() -> dict[Combination, str]:
    """The outcome of each combination."""
    with tempfile.TemporaryDirectory() as folder:
        return {c: outcome(c, Path(folder)) for c in combinations()}


def table(found: dict[Combination, str]) -> Iterator[str]:
    """Each combination that is not equal, and counts by transfer syntax."""
    by_syntax: dict[str, Counter[str]] = defaultdict(Counter)
    for c, what in found.items():
        kind = what if what == "equal" else "refused" if what.startswith("refused") else "unequal"
        by_syntax[c.syntax][kind] += 1
        if kind != "equal":
            yield f"{what}: {c}"
    by_syntax["all"] = sum(by_syntax.values(), Counter())
    for syntax, counts in sorted(by_syntax.items()):
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("equal", "refused", "unequal"))
        yield f"{syntax}: {counts.total()} made, {kinds}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table(outcomes()))
