"""Cost of the stages of a scan, compared with their lower bounds in the same run.

    python tests/benchmarks/stages.py [--studies 12] [--rounds 3]

- decode: slices read, windowed and rendered in this process (by imaging, as in decode workers),
  compared with bare pydicom's `dcmread(...).pixel_array` of the same files, for each of three
  compressions; and one and two decode workers, compared with this process.
- results: maps assembled and written as a part file of each study, compared with h5py writing the
  same maps with the same compression to a file, and with an `fsync` of a file of that size.

The best round of each counts. Slices a second depend on the machine; compare the ratios.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pydicom
from end_to_end import write_archive

from medscan import archive, detector, imaging, results
from medscan.archive import Pseudonyms, Series, Stack, Study
from medscan.errors import FileError
from medscan.reading.decoders import Decoders
from medscan.reading.jobs import CHUNK, DrawJob, StackMemory, draw_job
from medscan.scoring.stacks import KEPT, StackBuilder, study_result

MAX_FILE_BYTES = 1 << 30
SIDE, GRID, PATCH = 224, 16, 14

Stacks = list[tuple[Study, Series, Stack]]


def best(rounds: int, runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each run's best round; the runs alternate."""
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            spent[name].append(time.perf_counter() - started)
    return {name: min(times) for name, times in spent.items()}


def jobs_of(stacks: Stacks) -> Iterator[DrawJob]:
    for study, series, stack in stacks:
        for first in range(0, len(stack.frames), CHUNK):
            frames = stack.frames[first : first + CHUNK]
            yield DrawJob(
                stack, first, frames, SIDE, "auto", series.modality, MAX_FILE_BYTES, study.key
            )


def drawn_here(stacks: Stacks) -> None:
    memory = StackMemory()
    for job in jobs_of(stacks):
        assert not any(isinstance(item, FileError) for item in draw_job(job, memory))


def drawn(decoders: Decoders, stacks: Stacks) -> None:
    for _, slices in decoders.draw(jobs_of(stacks)):
        assert not any(isinstance(item, FileError) for item in slices)


def tell_decoding(stacks: Stacks, rounds: int) -> None:
    groups: dict[str, Stacks] = defaultdict(list)
    for item in stacks:
        path = item[2].frames[0].file.full
        header = pydicom.dcmread(path, specific_tags=[], stop_before_pixels=True)
        groups[header.file_meta.TransferSyntaxUID.name].append(item)
    for syntax, group in sorted(groups.items()):
        files = [frame.file.full for _, _, stack in group for frame in stack.frames]
        spent = best(
            rounds,
            {
                "pydicom": lambda files=files: [pydicom.dcmread(f).pixel_array for f in files],
                "medscan": lambda group=group: drawn_here(group),
            },
        )
        ratio, cost = spent["medscan"] / spent["pydicom"], 1000 * spent["medscan"] / len(files)
        print(f"decode, {syntax}: {cost:.2f} ms a slice, {ratio:.2f} times bare pydicom")


def tell_workers(stacks: Stacks, rounds: int) -> None:
    with Decoders(1, 60) as one, Decoders(2, 60) as two:
        pools = {"1 worker": one, "2 workers": two}
        for pool in pools.values():
            drawn(pool, stacks[:2])  # pays for the start
        runs = {n: lambda p=pool: drawn(p, stacks) for n, pool in pools.items()}
        spent = best(rounds, {"this process": lambda: drawn_here(stacks)} | runs)
    for name, seconds in spent.items():
        faster = spent["this process"] / seconds
        rate = sum(len(stack.frames) for _, _, stack in stacks) / seconds
        print(f"decode, {name}: {rate:.0f} slices/s, {faster:.2f} times this process")


def tell_results(stacks: Stacks, folder: Path, rounds: int) -> None:
    card = detector.read(detector.find(Path("brain-flair")))
    rng = np.random.default_rng(0)
    maps = rng.random((24, GRID, GRID)).astype(np.float16)
    image = rng.random((1, SIDE, SIDE), np.float32)
    names = Pseudonyms(b"0" * 32)

    def whole() -> None:
        for study, series, stack in stacks:
            builder = StackBuilder(series, stack, card, SIDE, GRID, PATCH, KEPT)
            for place in range(len(stack.frames)):
                builder.keep_image(place, imaging.Slice(image, background=False))
                builder.add_score(place, float(place), maps[place % 24])
            made = study_result(study, [builder.result(1.0, names)], [], names)
            results.write_part(folder / f"{study.key}.h5", made)

    def bare() -> None:
        for study, _, stack in stacks:
            with h5py.File(folder / f"{study.key}.bare", "w") as file:
                data = np.resize(maps, (len(stack.frames), GRID, GRID))
                file.create_dataset("heatmap", data=data, compression="gzip", shuffle=True)

    def synced() -> None:
        for study, _, _ in stacks:
            with (folder / f"{study.key}.sync").open("wb") as file:
                file.write(bytes(64 << 10))
                file.flush()
                os.fsync(file.fileno())

    spent = best(rounds, {"medscan": whole, "h5py": bare, "fsync": synced})
    slices = sum(len(stack.frames) for _, _, stack in stacks)
    print(f"results: {1000 * spent['medscan'] / slices:.2f} ms a slice, "
          f"{spent['medscan'] / spent['h5py']:.1f} times h5py writing the maps alone, "
          f"{spent['medscan'] / spent['fsync']:.1f} times an fsync a study")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the stages of a scan.")
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_archive(folder / "archive", args.studies)
        stacks = [
            (study, series, stack)
            for study in archive.index([folder / "archive"]).studies
            for series in study.series
            for stack in series.stacks
        ]
        tell_decoding(stacks, args.rounds)
        tell_workers(stacks, args.rounds)
        tell_results(stacks, folder, args.rounds)


if __name__ == "__main__":
    main()
