"""Speed of indexing headers, compared with bare pydicom on the same files in the same run.

    python tests/benchmarks/index_speed.py [--files 5000] [--rounds 3] [--workers 1 2] [--disk]

Writes small DICOM files (the headers of pydicom's CT_small and MR_small with 16 x 16 pixels,
series of 40) to a temporary folder. Their contents are cached in memory, unless --disk evicts them
before each cold pass. Then it alternates `pydicom.dcmread(path, stop_before_pixels=True,
specific_tags=...)` of the same tags in one process; `medscan.archive.index` with an empty ledger
(cold); and the same with the resulting ledger (warm). Prints files a second and CPU seconds of the
best round of each, children included, and the ratios.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pydicom

from medscan import archive
from medscan.archive.dicom import _TAGS

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
SERIES = 40
UID, NUMBER, PLACE = b"1777777.1777", b"8787", b"7878.78"


def write(folder: Path, files: int) -> None:
    """Series of 40 slices, alternately CT and MR."""
    for first in range(0, files, SERIES):
        number = first // SERIES
        place = folder / f"study{number // 4}" / f"series{number}"
        place.mkdir(parents=True)
        content = template(number)
        for n in range(min(SERIES, files - first)):
            slice_n = content.replace(UID, b"1%06d.1%03d" % (number, n)).replace(
                NUMBER, b"%-4d" % n
            )
            (place / f"I{n}").write_bytes(slice_n.replace(PLACE, b"%07.2f" % (2.5 * n)))


def template(number: int) -> bytes:
    """A slice with marks of fixed length where slices differ."""
    ds = pydicom.dcmread(SHIPPED / ("CT_small.dcm", "MR_small.dcm")[number % 2])
    ds.Rows, ds.Columns, ds.PixelData = 16, 16, bytes(512)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.3.{number // 4}", f"1.2.3.4.{number}"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5." + UID.decode()
    ds.InstanceNumber, ds.ImagePositionPatient = NUMBER.decode(), ["0", "0", PLACE.decode()]
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def bare(folder: Path) -> None:
    for path in sorted(folder.rglob("I*")):
        pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)


def walked(folder: Path) -> None:
    """The least work that shows that nothing has changed."""
    for parent, _, names in os.walk(folder):
        for name in names:
            os.stat(f"{parent}/{name}")  # noqa: PTH116 - the fastest


def indexed(folder: Path, ledger: Path, workers: int) -> archive.Catalogue:
    from medscan.planning.ledger import Ledger  # not at the top, which workers import too

    cache = Ledger(ledger)
    catalogue = archive.index([folder], cache=cache, workers=workers)
    cache.commit()
    cache.close()
    return catalogue


def evict(folder: Path) -> None:
    """Drop the files' contents from the page cache, so that they are read from the disk."""
    for path in folder.rglob("I*"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, those of ended children included."""
    before, started = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, os.times()
    tick = 1 / os.sysconf("SC_CLK_TCK")  # what takes less is counted as none
    return wall, max(tick, sum(after[:4]) - sum(before[:4]))


def measure(
    folder: Path, scratch: Path, workers: list[int], best: dict[str, list[float]], *, disk: bool
) -> None:
    def note(name: str, work: Callable[[], object]) -> None:
        if disk and "warm" not in name:
            evict(folder)
        wall, cpu = timed(work)
        kept = best.setdefault(name, [wall, cpu])
        kept[:] = min(kept[0], wall), min(kept[1], cpu)

    note("os.walk, warm", lambda: walked(folder))
    note("pydicom", lambda: bare(folder))
    for count in workers:
        ledger = scratch / f"ledger{count}"
        ledger.unlink(missing_ok=True)
        note(f"cold, {count} workers", lambda c=count, at=ledger: indexed(folder, at, c))
        note(f"warm, {count} workers", lambda c=count, at=ledger: indexed(folder, at, c))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--folder", type=Path, help="folder of the files; made if missing, and kept"
    )
    parser.add_argument("--disk", action="store_true", help="evict the files before cold passes")
    args = parser.parse_args()
    best: dict[str, list[float]] = {}
    import medscan.planning.ledger  # noqa: F401 - its imports are nobody's time

    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or Path(made) / "archive"
        if not folder.exists():
            write(folder, args.files)
        for _ in range(args.rounds):
            measure(folder, Path(made), args.workers, best, disk=args.disk)
    bare_wall, bare_cpu = best["pydicom"]
    for name, (took, spent) in best.items():
        print(
            f"{name:15} {args.files / took:8.0f} files/s  {1e6 * spent / args.files:6.0f} us "
            f"of processor a file; {bare_wall / took:5.2f} x pydicom by clock, "
            f"{bare_cpu / spent:5.2f} x by processor"
        )
    for count in args.workers:
        cold, warm = best[f"cold, {count} workers"], best[f"warm, {count} workers"]
        ratios = warm[0] / cold[0], warm[1] / cold[1]
        print(
            f"warm / cold, {count} workers: {ratios[0]:.3f} by clock, {ratios[1]:.3f} by processor"
        )
        walk = best["os.walk, warm"]
        print(f"warm / os.walk: {warm[0] / walk[0]:.2f} by clock, {warm[1] / walk[1]:.2f}")


if __name__ == "__main__":
    main()
