"""Index, read and render mutated files, as a scan does.

    python tests/benchmarks/fuzz.py [--files 20000] [--seed 0] [--workers 1] [--minutes 0]
                                    [--no-dicom]

Mutates the test files of pydicom and nibabel and some generated ones: bytes, lengths, VRs, blocks,
ends, and values of the tags that describe the layout of pixels. Each file is indexed, together with
others and alone, and a sample of its frames is rendered in a decode worker with a limit of 256 MiB
and 10 s per file. With --minutes, it stops after that time at the latest; with --no-dicom, only
volumes and pictures are mutated. Prints the outcomes of the files, the slowest ones and the peak
memory. The exit code is 1 if a file was not accounted for, its header took over 10 CPU seconds, its
rendering timed out, or memory exceeded 1.5 GiB.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image

from medscan import archive
from medscan.archive import Catalogue, Kind, Stack
from medscan.errors import DecoderError, FileError
from medscan.reading.decoders import decode
from medscan.reading.jobs import DrawJob

MAX_FILE_BYTES = 2**28
SECONDS = 10.0
MEMORY = 1.5
BATCH = 50
_LARGEST = 300_000
_SHAPE_TAGS = [
    struct.pack("<HH", 0x28, element)
    for element in (2, 4, 6, 8, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103, 0x1052, 0x1053, 0x1101)
] + [struct.pack("<HH", *tag) for tag in ((2, 0x10), (0x20, 0x32), (0x20, 0x37), (0x7FE0, 0x10))]
_EXTREMES = [
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\xff\xff\0\0",
    b"\1\0\0\0", b"\xfe\xff\0\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"9999", b"-1\\ ",
]  # fmt: skip
_VRS = [b"SQ", b"UN", b"OB", b"OW", b"US", b"DS", b"IS", b"UI", b"LO", b"UT", b"XX", b"\0\0"]


def corpus() -> list[tuple[str, bytes]]:
    """Names and contents to start from, sorted."""
    shipped = [Path(pydicom.__file__).parent / "data" / "test_files"]
    home = Path(nibabel.__file__).parent
    shipped += [home / "tests" / "data", home / "nicom" / "tests" / "data"]
    paths = sorted(p for folder in shipped for p in folder.rglob("*") if p.is_file())
    paths = [p for p in paths if p.suffix not in (".py", ".pyc") and p.stat().st_size < _LARGEST]
    return [(p.name, p.read_bytes()) for p in paths] + list(_generated())


def _generated() -> Iterator[tuple[str, bytes]]:
    grey = Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64))
    deep = Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
    pages = {"save_all": True, "append_images": [grey, grey]}
    for name, picture, options in (
        ("made.png", grey, {}),
        ("deep.png", deep, {}),
        ("palette.png", grey.convert("P"), {}),
        ("made.jpeg", grey, {}),
        ("progressive.jpeg", grey.convert("RGB"), {"progressive": True}),
        ("made.tiff", grey, pages),
        ("packed.tiff", deep, {"compression": "tiff_adobe_deflate"}),
        ("lzw.tiff", grey, {"compression": "tiff_lzw"}),
    ):
        stream = io.BytesIO()
        picture.save(stream, Path(name).suffix[1:], **options)
        yield name, stream.getvalue()
    voxels = bytes(range(240)) * 2
    meta = b"NDims = 3\nDimSize = 5 6 8\nElementType = MET_USHORT\n"
    local = b"ElementDataFile = LOCAL\n"
    yield "made.mha", meta + local + voxels
    yield "packed.mha", meta + b"CompressedData = True\n" + local + zlib.compress(voxels)
    nrrd = (
        b"NRRD0004\ntype: ushort\ndimension: 3\nsizes: 5 6 8\nspace: LPS\nendian: little\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,2)\nencoding: "
    )
    yield "made.nrrd", nrrd + b"raw\n\n" + voxels
    yield "packed.nrrd", nrrd + b"gzip\n\n" + zlib.compress(voxels, wbits=31)
    grid = np.arange(240, dtype=np.int16).reshape(5, 6, 8)
    volume = nibabel.Nifti1Image(grid, np.eye(4))
    yield "made.nii", volume.to_bytes()
    yield "second.nii", nibabel.Nifti2Image(grid, np.eye(4)).to_bytes()
    yield "made.nii.gz", zlib.compress(volume.to_bytes(), wbits=31)
    for name in ("CT_small.dcm", "emri_small.dcm"):
        path = Path(pydicom.__file__).parent / "data" / "test_files" / name
        if path.exists():
            yield f"deflated_{name}", _deflated(pydicom.dcmread(path))


def _deflated(ds: pydicom.Dataset) -> bytes:
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


def mutated(rng: random.Random, content: bytes) -> bytes:
    """One to a dozen changes; most of them in the header."""
    data = bytearray(content)
    first = 132 if content[128:132] == b"DICM" and rng.random() < 0.9 else 0
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6, 12))):
        reach = rng.choice((min(len(data), 3000), min(len(data), 600), len(data)))
        _change(rng, data, rng.randrange(first, reach) if reach > first else 0)
    if rng.random() < 0.08 and data:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def _change(rng: random.Random, data: bytearray, at: int) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        data[at : at + 1] = bytes([rng.randrange(256)])
    elif kind == 1 and data:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        data[at : at + 4] = rng.choice(_EXTREMES)
    elif kind == 3:
        del data[at : at + rng.randrange(1, 64)]
    elif kind == 4:
        data[at:at] = data[at : at + rng.randrange(1, 64)]
    elif kind == 5:
        data[at : at + 2] = rng.choice(_VRS)
    else:
        _lie(rng, data)


def _lie(rng: random.Random, data: bytearray) -> None:
    """Change the length or value of an element that describes the layout of pixels."""
    at = data.find(rng.choice(_SHAPE_TAGS))
    if at >= 0:
        at += rng.choice((4, 6, 8, 8, 8, 8))
        data[at : at + 2] = rng.choice((rng.randbytes(2), rng.choice(_EXTREMES)[:2]))


@dataclass
class Report:
    """What became of mutated files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    contained: list[str] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def took(self, seconds: float, what: str) -> None:
        self.slowest = sorted([*self.slowest, (round(seconds, 2), what)], reverse=True)[:5]

    def lines(self) -> list[str]:
        counts = ", ".join(f"{n} {what}" for what, n in sorted(self.outcomes.items()))
        slow = ", ".join(f"{what} {seconds} s" for seconds, what in self.slowest)
        died = [f"died in its worker: {what}" for what in self.contained]
        return [counts, f"slowest: {slow}", *died, *self.problems]


def indexed(root: Path, names: set[str], report: Report) -> Catalogue:
    """Index a file or folder; every file in it must be in one place."""
    times = [time.process_time()]
    catalogue = archive.index([root], progress=lambda _: times.append(time.process_time()))
    slowest = max(np.diff(times))
    report.took(slowest, f"header of {root.name}")
    if slowest > SECONDS:
        report.problems.append(f"header of {root.name} took {slowest:.1f} s")
    placed = Counter(f.path for study in catalogue.studies for f in study.files())
    placed.update(o.file.path for o in catalogue.set_aside)
    placed.update(f.path for f in catalogue.companions)
    if placed != Counter(names):
        report.problems.append(f"{root.name}: found {placed - Counter(names)}, not all of {names}")
    return catalogue


def jobs_of(catalogue: Catalogue) -> Iterator[DrawJob]:
    """At most six frames of each stack, a job each file."""
    for study in catalogue.studies:
        for series in study.series:
            for stack in series.stacks[:8]:
                for first, frame in _some(stack):
                    yield DrawJob(
                        stack,
                        first,
                        (frame,),
                        32,
                        "auto",
                        series.modality,
                        MAX_FILE_BYTES,
                        study.key,
                    )


def _some(stack: Stack) -> list[tuple[int, archive.Frame]]:
    places = sorted({0, 1, 2, len(stack.frames) // 2, len(stack.frames) - 2, len(stack.frames) - 1})
    return [(n, stack.frames[n]) for n in places if 0 <= n < len(stack.frames)]


def fuzz(
    folder: Path,
    files: int,
    seed: int,
    workers: int,
    until: float = 0.0,
    *,
    dicom: bool = True,
) -> Report:
    """Mutate, index and draw `files` files, or as many as there is time for."""
    rng, report = random.Random(seed), Report()
    sources, indexing = _weighted(folder, corpus(), dicom=dicom), [0.0]

    def batches() -> Iterator[DrawJob]:
        for first in range(0, files, BATCH):
            if until and time.monotonic() > until:
                return
            started = time.monotonic()
            names = _write_batch(
                rng, sources, folder / f"{first}", first, min(BATCH, files - first)
            )
            jobs = list(_jobs_of_batch(folder / f"{first}", names, report))
            indexing[0] += time.monotonic() - started
            yield from jobs
            shutil.rmtree(folder / f"{first - BATCH}", ignore_errors=True)  # all of it was drawn

    last = time.monotonic()
    for job, drawn in decode(batches(), workers, SECONDS):
        now = time.monotonic()
        report.took(now - last - indexing[0], f"drawing {job.frames[0].file.path}")
        last, indexing[0] = now, 0.0
        for item in drawn:
            _note(report, job, item)
    return report


def _weighted(
    folder: Path, sources: list[tuple[str, bytes]], *, dicom: bool
) -> list[tuple[str, bytes]]:
    """Sources to choose from: images ten times as often as other files."""
    weighted = []
    for name, content in sources:
        (folder / "source").write_bytes(content)
        studies = archive.index([folder / "source"]).studies
        kinds = {stack.kind for study in studies for s in study.series for stack in s.stacks}
        if dicom or not (kinds & {Kind.DICOM} or content[128:132] == b"DICM"):
            weighted += [(name, content)] * (10 if studies else 1)
    (folder / "source").unlink()
    return weighted


def _write_batch(
    rng: random.Random, sources: list[tuple[str, bytes]], place: Path, first: int, count: int
) -> set[str]:
    place.mkdir()
    for n in range(first, first + count):
        name, content = rng.choice(sources)
        (place / f"{n}_{name}").write_bytes(mutated(rng, content))
    return {p.name for p in place.iterdir()}


def _jobs_of_batch(place: Path, names: set[str], report: Report) -> Iterator[DrawJob]:
    """All files together, then each alone: together, copies of one SOP instance are duplicates."""
    yield from jobs_of(indexed(place, names, report))
    report.outcomes["files"] += len(names)
    for name in sorted(names):
        alone = indexed(place / name, {name}, report)
        report.outcomes.update(f"files {o.reason}" for o in alone.set_aside)
        report.outcomes["files with frames"] += bool(alone.studies)
        yield from jobs_of(alone)


def _note(report: Report, job: DrawJob, item: object) -> None:
    failed = isinstance(item, FileError)
    report.outcomes[f"frames {item.reason}" if failed else "frames drawn"] += 1
    if isinstance(item, DecoderError):
        (report.problems if "in time" in str(item) else report.contained).append(
            f"{job.frames[0].file.path}: {item}"
        )


def peak_gib() -> tuple[float, float]:
    """Peak resident memory of this process and of the largest ended child."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, child = (resource.getrusage(w).ru_maxrss / 2**20 for w in who)
    return own, child


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--no-dicom", action="store_true")
    args = parser.parse_args()
    until = time.monotonic() + 60 * args.minutes if args.minutes else 0.0
    with tempfile.TemporaryDirectory() as made:
        report = fuzz(
            Path(made), args.files, args.seed, args.workers, until, dicom=not args.no_dicom
        )
    print("\n".join(report.lines()))
    own, child = peak_gib()
    print(f"peak memory: {own:.2f} GiB, largest worker {child:.2f} GiB")
    sys.exit(bool(report.problems or max(own, child) > MEMORY))


if __name__ == "__main__":
    main()
