"""Step 1, `views`: random crops of medical images, of patients that may be trained on."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from scipy import ndimage

from weights.recipe.student import SEED, SIZE

VIEWS = 7000
# Shares of the views. Brains are many because they are what the shipped detector looks at.
SHARES = {
    "brain_lgg": 0.32,
    "brain_ms": 0.10,
    "breast_us": 0.14,
    "chest_xray": 0.13,
    "lung_ct": 0.10,
    "histology": 0.08,
    "wheel": 0.04,
    "generated": 0.09,
}


def train_cases(folder: Path) -> Iterator[dict[str, str]]:
    """Rows of `cases.csv` whose patient may be trained on; test-hinted patients never enter."""
    with (folder / "cases.csv").open(newline="") as stream:
        yield from (row for row in csv.DictReader(stream) if row["split_hint"] == "train")


def pictures(folder: Path) -> list[Image.Image]:
    found = []
    for row in train_cases(folder):
        label = "abnormal" if row["label"] == "1" else "normal"
        found.append(Image.open(folder / label / f"{row['case']}.png").convert("RGB"))
    return found


def to_picture(plane: np.ndarray, low: float, high: float) -> Image.Image:
    grey = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return Image.fromarray((grey * 255).astype(np.uint8)).convert("RGB")


def volume_slices(path: Path, axes: tuple[int, ...]) -> list[Image.Image]:
    volume = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj, np.float32)
    low, high = np.percentile(volume, [1, 99.5])
    found = []
    for axis in axes:
        for index in range(volume.shape[axis]):
            plane = np.rot90(np.take(volume, index, axis))
            if (plane > low + 0.1 * (high - low)).mean() > 0.08:
                found.append(to_picture(plane, low, high))
    return found


def wheel_pictures() -> list[Image.Image]:
    """Every picture among the real files that pydicom and nibabel ship."""
    found = []
    for name in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm")):
        try:
            data = pydicom.dcmread(name)
            pixels = data.pixel_array
        except Exception:  # broken on purpose: these are a reader's test files
            continue
        if pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.dtype == np.uint8:
            found.append(Image.fromarray(pixels))
        elif pixels.ndim == 2 and min(pixels.shape) >= 48:
            found.append(to_picture(pixels, *np.percentile(pixels, [1, 99])))
    tests = Path(nib.__file__).parent / "tests" / "data"
    for name in ("anatomical.nii", "example4d.nii.gz"):
        if (tests / name).exists():
            volume = np.asarray(nib.load(tests / name).dataobj, np.float32)
            volume = volume.reshape(*volume.shape[:3], -1)[..., 0]
            found += [to_picture(np.rot90(p), *np.percentile(volume, [1, 99])) for p in volume.T]
    return found


def generated_picture(rng: np.random.Generator) -> Image.Image:
    """A phantom: nested ellipses with textured tissue, and now and then a lesion."""
    size = 256
    yy, xx = np.mgrid[:size, :size] / size - 0.5
    noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), rng.uniform(1, 8))
    noise /= noise.std()
    image = np.full((size, size), rng.uniform(0, 0.15))
    for scale in np.sort(rng.uniform(0.08, 0.48, rng.integers(2, 6)))[::-1]:
        angle = rng.uniform(0, math.pi)
        cx, cy = rng.uniform(-0.1, 0.1, 2)
        u = (xx - cx) * math.cos(angle) + (yy - cy) * math.sin(angle)
        v = (yy - cy) * math.cos(angle) - (xx - cx) * math.sin(angle)
        inside = (u / scale) ** 2 + (v / (scale * rng.uniform(0.6, 1))) ** 2 < 1
        image[inside] = rng.uniform(0.1, 0.9) + rng.uniform(0, 0.12) * noise[inside]
    for _ in range(rng.integers(0, 3)):
        cx, cy = rng.uniform(-0.25, 0.25, 2)
        radius = rng.uniform(0.015, 0.1)
        warp = radius * (1 + 0.25 * noise)
        blob = np.hypot(xx - cx, yy - cy) < warp
        soft = ndimage.gaussian_filter(blob.astype(float), rng.uniform(0.5, 4))
        image += soft * rng.uniform(-0.5, 0.6)
    image += rng.normal(size=image.shape) * rng.uniform(0, 0.06)
    return to_picture(image, 0.0, 1.0)


def image_sets(data: Path, volumes: Path) -> dict[str, list[Image.Image]]:
    lgg = pictures(data / "brain_mri_lgg")
    for row in train_cases(volumes / "brain_flair_lgg"):
        lgg += volume_slices(volumes / "brain_flair_lgg" / f"{row['volume']}.nii.gz", (2,))
    ms: list[Image.Image] = []
    for row in train_cases(volumes / "brain_flair_ms"):
        ms += volume_slices(volumes / "brain_flair_ms" / row["volume"], (0, 1, 2))
    rng = np.random.default_rng(SEED)
    return {
        "brain_lgg": lgg,
        "brain_ms": ms,
        "breast_us": pictures(data / "breast_us_busi"),
        "chest_xray": pictures(data / "chest_xray_nih"),
        "lung_ct": pictures(data / "lung_ct_iqoth"),
        "histology": pictures(data / "histo_lung_lc25000"),
        "wheel": wheel_pictures(),
        "generated": [generated_picture(rng) for _ in range(400)],
    }


def augmented(picture: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """A random view (SIZE, SIZE, 3) uint8: crop 0.3-1 of the area, flips, quarter turns, gamma."""
    width, height = picture.size
    if rng.random() < 0.25:  # the whole picture, letterboxed as medscan does
        side = max(width, height)
        square = Image.new("RGB", (side, side))
        square.paste(picture, ((side - width) // 2, (side - height) // 2))
        picture, box = square, (0.0, 0.0, side, side)
    else:
        side = math.sqrt(rng.uniform(0.3, 1.0)) * min(width, height)
        left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
        box = (left, top, left + side, top + side)
    view = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(view, np.float32) / 255
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.3:
        pixels = np.rot90(pixels, rng.integers(1, 4))
    pixels = pixels ** rng.uniform(0.7, 1.4) * rng.uniform(0.8, 1.15)
    return np.clip(pixels * 255, 0, 255).astype(np.uint8)


def make_views(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(SEED)
    sets = image_sets(args.data, args.volumes)
    print({name: len(found) for name, found in sets.items()})
    names = rng.choice(list(SHARES), VIEWS, p=list(SHARES.values()))
    views = np.stack([augmented(sets[n][rng.integers(len(sets[n]))], rng) for n in names])
    args.work.mkdir(parents=True, exist_ok=True)
    np.save(args.work / "views.npy", views)
