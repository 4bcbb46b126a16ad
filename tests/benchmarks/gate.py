"""What the gates of the shipped detectors mark: images that they are not for, and their own.

    python tests/benchmarks/gate.py ../shared [--detector brain-flair] [--each 12]

Each slice is scored by each detector, whatever its header says: routing would keep most of these
from it. Of the data sets only patients of the test split are shown; of each stack of the archive
the middle slice. Prints the share of slices beyond the limit with its exact 95 % interval, and the
median distance, in units of the limit. The limit is that which 1 in 20 normal shots of patients
left out lies beyond; it was not chosen on anything shown here.
"""

from __future__ import annotations

import argparse
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from medscan import archive
from medscan import detector as detectors
from medscan.archive import Kind, Stack
from medscan.choices import Precision, RuntimeName
from medscan.imaging import Slice
from medscan.metrics import exact
from medscan.profile import Clock
from medscan.reading import measure, render
from medscan.runtimes import Model, load
from medscan.shots import read_items, stream_slices

SETS = {
    "brain-flair": "brain_mri_lgg",
    "breast-ultrasound": "breast_us_busi",
    "chest-xray": "chest_xray_nih",
    "films of children": "chest_xray_children",
    "lung CT (pictures)": "lung_ct_iqoth",
    "lung histology": "histo_lung_lc25000",
}
SEQUENCES = ("flair", "t1", "t2", "field", "phantom", "asl", "bold")


def sets(shared: Path, each: int, size: int, window: str) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and image (3, S, S) of test slices."""
    for name, folder in SETS.items():
        items = read_items(shared / "data" / folder, "test")
        own = name in DETECTORS
        for label in (0, 1) if own else (None,):
            chosen = [i for i in items if label is None or i.label == label]
            chosen.sort(key=lambda item: zlib.crc32(item.name.encode()))
            drawn = stream_slices(chosen, size=size, window=window, plane=None)
            word = "" if label is None else (" normal", " abnormal")[label]
            yield from (
                (f"{name}{word}", s.image) for s in islice(drawn, 4 * each if own else each)
            )


DETECTORS = ("brain-flair", "breast-ultrasound", "chest-xray")


def kind_of(modality: str, stack: Stack, path: str) -> str:
    """What a stack of the archive is, by its header and the names of its folders."""
    words = " ".join([path, *(v for k, v in stack.facts.items() if "Description" in k)]).lower()
    for mark, kind in (
        ("phantom", "phantoms"),
        ("nih qa", "phantoms"),
        ("magdeburg", "phantoms"),
        ("fieldmap", "field maps"),
        ("field_map", "field maps"),
        ("spine", "MR spine"),
    ):
        if mark in words:
            return kind
    if modality == "MR" or stack.kind is Kind.NIFTI:
        for mark in ("flair", "t1", "t2", "bold", "asl"):
            if mark in words:
                return f"MR {mark.upper()}" if mark != "flair" else "MR FLAIR"
        return "MR or volume, other"
    return f"{modality or 'no modality'}"


def stacks(shared: Path, size: int, window: str) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and image of the middle slice of each stack of the archive that can be read."""
    for study in archive.index([shared / "archive" / "files"]).studies:
        for series in study.series:
            for stack in series.stacks:
                frame = stack.frames[len(stack.frames) // 2]
                try:
                    rule = measure(stack, window, series.modality)
                    found = list(render(stack, [frame], size, rule))
                except Exception:  # noqa: BLE001, S112 - the archive holds broken files on purpose
                    continue
                for one in found:
                    if isinstance(one, Slice) and not one.background:
                        image = np.broadcast_to(one.image, (3, size, size))
                        yield kind_of(series.modality, stack, frame.file.path), image


def distances(model: Model, images: list[np.ndarray]) -> np.ndarray:
    """Distance of each image (3, S, S)."""
    found = []
    for image in images:
        batch = model.empty(1)
        np.asarray(batch)[0] = image
        output = model.run(batch, Clock())
        output.wait(Clock())
        found.append(float(output.distances()[0]))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--detector", action="append")
    parser.add_argument("--each", type=int, default=12, help="of other sets; four times of its own")
    args = parser.parse_args()
    for name in args.detector or DETECTORS:
        path = detectors.find(Path(name))
        detector = detectors.read(path)
        if detector.gate is None:
            print(f"{name}: no gate")
            continue
        model = load(path, detector, Precision.FP32, runtime=RuntimeName.TORCH)
        size, shown = model.square.size, defaultdict(list)
        for kind, image in sets(args.shared, args.each, size, detector.window):
            shown[kind].append(image)
        for kind, image in stacks(args.shared, size, detector.window):
            shown[f"archive: {kind}"].append(image)
        print(f"{name}: limit {detector.gate.limit:.3f}")
        for kind, images in shown.items():
            place = distances(model, images) / detector.gate.limit
            share = exact(float((place >= 1).mean()), len(place))
            print(
                f"  {kind:34} {len(place):4}  {100 * share.value:5.1f} % "
                f"({100 * share.low:.0f}-{100 * share.high:.0f})  median {np.median(place):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
