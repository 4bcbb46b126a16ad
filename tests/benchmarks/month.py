"""A simulated month: 30 nights of five scanners, one of which gets other software on night 18.

    python tests/benchmarks/month.py [--volumes FOLDER] [--studies 10] [--detector brain-flair]
        [--nights 30] [--changed 18]

Each night every scanner sends new studies of one slice, from NIfTI volumes of heads or else from
drawn ones, each turned, scaled and with noise of its own; a scan scores them. From
night 18 on, the images of one scanner are noisy, and its header names other software. Prints
what `medscan monitor` says after each night from then on, and after the last: it must name the
scanner, the night and the software. Only the clock is not real: each night's entries get its date.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from medscan import demo, results, scan
from medscan.monitoring import History, Watched, watch
from medscan.monitoring.history import entries_of
from tests import tiny

SCANNERS, ILL = 5, 2
SLICES = 1
FIRST = datetime.date(2026, 11, 1)
SOFTWARE = "syngo MR E11", "syngo MR XA30"


def heads(folder: Path | None) -> list[np.ndarray]:
    """Volumes (x, y, z), from 0 to 1."""
    paths = sorted(folder.rglob("*.nii.gz")) if folder else []
    found = [
        np.asarray(nib.load(path).dataobj, np.float32) for path in paths if "mask" not in str(path)
    ]
    found = found or [demo.draw_head(seed).voxels.astype(np.float32) for seed in range(8)]
    return [volume / max(float(volume.max()), 1.0) for volume in found]


def study(volumes: list[np.ndarray], rng: np.random.Generator, *, noisy: bool) -> np.ndarray:
    """A slice of a head, int16, as no other study has them."""
    volume = volumes[rng.integers(len(volumes))]
    first = rng.integers(volume.shape[2] // 4, 3 * volume.shape[2] // 4 - SLICES + 1)
    part = volume[:, :, first : first + SLICES]
    part = ndimage.rotate(part, rng.uniform(-8, 8), reshape=False, order=1)
    part = np.clip(part * rng.uniform(0.9, 1.1), 0, 1) ** rng.uniform(0.9, 1.1)
    noise = rng.normal(0, 0.1 if noisy else 0.01, part.shape) * (part > 0.02)
    return (np.clip(part + noise, 0, 1) * 1000).astype(np.int16)


def write_night(root: Path, night: int, volumes: list[np.ndarray], each: int, changed: int) -> None:
    for scanner in range(1, SCANNERS + 1):
        for number in range(each):
            rng = np.random.default_rng([night, scanner, number])
            new = scanner == ILL and night >= changed
            tiny.write_series(
                root / f"{night}-{scanner}-{number}",
                study(volumes, rng, noisy=new),
                study=f"1.2.840.9.{night}.{scanner}.{number}",
                PatientID=f"{night}-{scanner}-{number}",
                Manufacturer="SIEMENS",
                ManufacturerModelName="Skyra" if scanner < 4 else "Aera",
                SoftwareVersions=SOFTWARE[new],
                DeviceSerialNumber=str(1000 + scanner),
            )


def told(night: int, watched: Watched) -> None:
    for alarm in watched.alarms:
        print(f"night {night}: {alarm.sentence}", flush=True)
    if not watched.alarms:
        print(f"night {night}: no alarm", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--volumes", type=Path)
    parser.add_argument("--studies", type=int, default=10, help="of each scanner in a night")
    parser.add_argument("--detector", default="brain-flair")
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--changed", type=int, default=18)
    asked = parser.parse_args()
    volumes = heads(asked.volumes)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with History(work / "site.history") as history:
            for night in range(1, asked.nights + 1):
                root, out = work / "archive", work / f"{night}.h5"
                write_night(root, night, volumes, asked.studies, asked.changed)
                scan(root, out, detector=asked.detector, thumbnails=False, key_file=work / "key")
                day = (FIRST + datetime.timedelta(night - 1)).isoformat()
                history.put(replace(e, night=day) for e in entries_of(results.open(out)))
                shutil.rmtree(root)
                if night >= asked.changed:
                    told(night, watch(history.entries(), {}))
            entries = history.entries()
    ill = [e for e in entries if e.software == SOFTWARE[1]]
    well = [e for e in entries if e.software != SOFTWARE[1]]
    spread = float(np.std([e.score for e in well]))
    shift = float(np.mean([e.score for e in ill]) - np.mean([e.score for e in well])) / spread
    print(
        f"{len(entries)} stacks in {time.monotonic() - started:.0f} s; shift {shift:.2f} deviations"
    )


if __name__ == "__main__":
    main()
