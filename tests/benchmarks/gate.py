"""What the gates of the shipped detectors mark: images that they are not for, and their own.

    python tests/benchmarks/gate.py DATA ARCHIVE [--detector brain-flair] [--each 12]

Each slice is scored by each detector, whatever its header says: routing would keep most of these
from it. Of the data sets only patients of the test split are shown; of each stack of the archive
the middle slice. Prints the share of slices beyond the limit with its exact 95 % interval, and the
median distance, in units of the limit. The limit is that which 1 in 20 normal shots of patients
left out lies beyond; it was not chosen on anything shown here.
"""

from __future__ import annotations

import argparse
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from medscan import archive
from medscan import detector as detectors
from medscan.choices import FILE_TIMEOUT_S, MAX_FILE_BYTES, Precision, RuntimeName
from medscan.imaging import Slice
from medscan.metrics import exact
from medscan.profile import Clock
from medscan.reading import DrawJob, decode
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

KINDS = {
    "field maps": "field.?map|B0 NS",
    "MR phantoms": "NIH QA",
    "MR spine": "spine",
    "MR T1": r"(\b|_|q)T1|mprage",
    "MR T2": r"(\b|_|q)T2",
    "MR diffusion": "DTI|DWI|NODDI|dmri",
    "MR EPI": "EPI|FMRI|functional|4d|ax_asc|asl_",
    "MR angiography": "TOF|ANGIO",
    "MR localizers": "SURVEY|LOC|SCOUT|PILOT",
}
"""Words that tell what a stack is; the first that fit count."""


def sets(data: Path, each: int, size: int, window: str) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and image (3, S, S) of test slices."""
    for name, folder in SETS.items():
        items = read_items(data / folder, "test")
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


def kind_of(modality: str, described: str) -> str:
    """What a stack of the archive is, by what its series and its folders are called."""
    marked = (kind for kind, words in KINDS.items() if re.search(words, described, re.IGNORECASE))
    if modality in ("", "MR"):
        return next(marked, "MR, other" if modality else "volumes and others, unstated")
    return modality


def stacks(root: Path, size: int, window: str) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and image of the middle slice of each stack of the archive that can be read."""
    kinds: list[str] = []

    def jobs() -> Iterator[DrawJob]:
        for study in archive.index([root]).studies:
            for series in study.series:
                for stack in series.stacks:
                    frame, name = stack.frames[len(stack.frames) // 2], series.modality
                    described = f"{frame.file.path} {series.description}"
                    kinds.append(kind_of(name, described))
                    limit = MAX_FILE_BYTES
                    yield DrawJob(stack, 0, (frame,), size, window, name, limit, study.key)

    for number, (_, drawn) in enumerate(decode(jobs(), 1, FILE_TIMEOUT_S)):
        for one in drawn:
            if isinstance(one, Slice) and not one.background:
                yield kinds[number], np.broadcast_to(one.image, (3, size, size))


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
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("archive", type=Path)
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
        for kind, image in sets(args.data, args.each, size, detector.window):
            shown[kind].append(image)
        for kind, image in stacks(args.archive, size, detector.window):
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
