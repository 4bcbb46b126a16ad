"""What brain-flair is fitted on: slices, normal slabs, and slabs of which only the brain is left.

    python -m weights.recipe.heads --data DIR --volumes DIR --out DIR

writes `manifest.csv` and all it names below DIR, for `medscan fit DIR/manifest.csv`. Only patients
whose split_hint is train are in it. Many archives hold brains without their skulls: a detector
that has never seen one takes their bare surface for something abnormal.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SLICES, VOLUMES = "brain_mri_lgg", "brain_flair_lgg"
HEAD, TISSUE = 0.12, 0.25
"""Grey level of the head and of brain, in units of a bright one; bone and liquor lie below."""
NECK = 0.018
"""Half the width of what is cut through between brain and scalp, in image sides."""

Row = tuple[Path, str, Path | None, str]
"""Image below the output folder, label, mask, patient."""


def brain(image: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the brain in an axial FLAIR slice (H, W): bright, and deep inside the head.

    An opening cuts what connects it with the scalp. It finds most of the brain in three slices of
    four; else some scalp remains, or a lobe is lost.
    """
    if not image.any():
        return np.zeros(image.shape, bool)
    grey = image / np.percentile(image[image > 0], 98)
    reach = max(2, round(NECK * max(image.shape)))
    row, column = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = row**2 + column**2 <= reach**2
    parts, count = ndimage.label(ndimage.binary_erosion(grey > TISSUE, disc))
    if not count:
        return np.zeros(image.shape, bool)
    numbers = np.arange(1, count + 1)
    depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(grey > HEAD))
    sizes = ndimage.sum(parts > 0, parts, numbers)
    deep = np.where(sizes >= 0.1 * sizes.max(), ndimage.mean(depth, parts, numbers), 0)
    main = int(np.argmax(sizes * deep))
    kept = np.isin(parts, numbers[deep > 0.6 * deep[main]]) | (parts == numbers[main])
    wide = np.pad(ndimage.binary_dilation(kept, disc), 4 * reach)
    closed = ndimage.binary_closing(wide, disc, iterations=2)
    return ndimage.binary_fill_holes(closed)[4 * reach : -4 * reach, 4 * reach : -4 * reach]


def strip(volume: nib.Nifti1Image) -> nib.Nifti1Image:
    """The volume (X, Y, Z) with nothing but its brain, axial slice by slice."""
    voxels = np.asarray(volume.dataobj)
    inside = [brain(slab.astype(np.float64)) for slab in np.moveaxis(voxels, 2, 0)]
    return nib.Nifti1Image(np.where(np.stack(inside, 2), voxels, 0), volume.affine)


def train_rows(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "cases.csv").open(encoding="utf-8") as stream:
        yield from (row for row in csv.DictReader(stream) if row["split_hint"] == "train")


def slices(folder: Path, out: Path) -> Iterator[Row]:
    for row in train_rows(folder):
        label = ("normal", "abnormal")[int(row["label"])]
        image = _copied(folder / label / f"{row['case']}.png", out / label)
        mask = folder / "masks" / f"{row['case']}.png"
        yield image, label, _copied(mask, out / "masks") if mask.exists() else None, row["patient"]


def slabs(folder: Path, out: Path) -> Iterator[Row]:
    for row in train_rows(folder):
        kind, _, name = row["volume"].rpartition("/")
        if not kind.startswith("slabs"):
            continue
        label = ("normal", "abnormal")[int(row["label"])]
        source = folder / f"{row['volume']}.nii.gz"
        mask = _copied(folder / row["mask"], out / "slab_masks") if row["mask"] else None
        bare = out / "stripped" / f"{name}.nii.gz"
        bare.parent.mkdir(parents=True, exist_ok=True)
        nib.save(strip(nib.load(source)), bare)
        yield bare, label, mask, row["patient"]
        if label == "normal":
            yield _copied(source, out / "slabs"), label, None, row["patient"]


def _copied(source: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(source, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("--data", "--volumes", "--out"):
        parser.add_argument(name, type=Path, required=True)
    args = parser.parse_args()
    rows = [*slices(args.data / SLICES, args.out), *slabs(args.volumes / VOLUMES, args.out)]
    with (args.out / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "mask", "patient", "split"))
        for image, label, mask, patient in rows:
            below = [p.relative_to(args.out) if p else "" for p in (image, mask)]
            writer.writerow((below[0], label, below[1], patient, "train"))


if __name__ == "__main__":
    main()
