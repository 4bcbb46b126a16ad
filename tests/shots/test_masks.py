"""Masks: any value above 0 counts, whatever holds it, in fit, evaluate and suites alike."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medscan.choices import Plane
from medscan.errors import UsageError
from medscan.evaluate import EvaluateOptions, evaluate, to_plain
from medscan.fitting import FitOptions, fit
from medscan.shots import read_items
from medscan.shots.shots import draw_shots, stream_slices
from medscan.suites import read_suite, run_suite
from tests import tiny
from tests.shots.test_as_scanned import write_nrrd

IMAGE = np.random.default_rng(0).integers(50, 200, (32, 32)).astype(np.uint8)
MASK = np.zeros((32, 32), np.uint8)
MASK[:8, 8:16], MASK[8:16, 8:16], MASK[16:24, 24:32] = 1, 2, 7
MARKED = MASK > 0


def folders(root, suffix):
    for name in ("normal", "abnormal", "masks"):
        (root / name).mkdir(parents=True)
    picture = suffix in (".png", ".jpg", ".tif")
    path = root / "abnormal" / ("a.png" if picture else "a.nii")
    if picture:
        Image.fromarray(IMAGE).save(path)
    else:
        tiny.write_nifti(path, np.stack([IMAGE] * 3, -1), np.diag([-1, -1, 2, 1]))
    return root / "masks" / f"a{suffix}"


def palette(path, colours):
    image = Image.fromarray(MASK).convert("P")
    image = Image.frombytes("P", (32, 32), MASK.tobytes())
    image.putpalette(colours)
    image.save(path)


def coloured(alpha=255, below=0):
    """Red, green and blue labels on a ground of the grey `below` that is transparent or not."""
    rgba = np.full((32, 32, 4), below, np.uint8)
    rgba[..., 3] = alpha
    for value, channel in ((1, 0), (2, 1), (7, 2)):
        rgba[value == MASK] = [255 if c in (channel, 3) else 0 for c in range(4)]
    return Image.fromarray(rgba, "RGBA")


def in_jpeg(path):
    grey = np.array([0, 90, 170, 0, 0, 0, 0, 255], np.uint8)[MASK]
    Image.fromarray(grey).save(path, quality=90)


FORMS = {
    "8 bits": (".png", lambda path: Image.fromarray(MASK).save(path)),
    "16 bits": (".png", lambda path: Image.fromarray(MASK.astype(np.uint16) * 9000).save(path)),
    "1 bit": (".png", lambda path: Image.fromarray(MARKED).save(path)),
    "palette": (".png", lambda path: palette(path, [0, 0, 0, 9, 0, 0, 0, 9, 0, *[9] * 15])),
    "palette without black": (".png", lambda path: palette(path, [255] * 3 + [9] * 21)),
    "RGB": (".png", lambda path: coloured().convert("RGB").save(path)),
    "RGBA": (".png", lambda path: coloured(0, 255).save(path)),
    "TIFF": (".tif", lambda path: Image.fromarray(MASK).save(path)),
    "JPEG": (".jpg", in_jpeg),
    "NIfTI": (
        ".nii.gz",
        lambda path: tiny.write_nifti(path, np.stack([MASK] * 3, -1), np.diag([-1, -1, 2, 1])),
    ),
    "float NIfTI": (
        ".nii",
        lambda path: tiny.write_nifti(
            path, np.stack([MASK / 10] * 3, -1).astype(np.float32), np.diag([-1, -1, 2, 1])
        ),
    ),
    "NRRD": (".nrrd", lambda path: write_nrrd(path, np.stack([MASK] * 3, -1))),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_value_above_zero_counts(tmp_path, form):
    suffix, write = FORMS[form]
    write(folders(tmp_path, suffix))
    slices = list(stream_slices(read_items(tmp_path), size=32, window="auto", plane=Plane.AXIAL))
    volume = suffix not in (".png", ".jpg", ".tif")
    assert len(slices) == (3 if volume else 1)
    wanted = MARKED.T if volume else MARKED
    for one in slices:
        assert one.item.label == 1
        assert np.array_equal(one.mask, wanted)
    shots = draw_shots(
        read_items(tmp_path), 1, 0, size=32, window="auto", plane=Plane.AXIAL, labels=(1,)
    )
    assert np.array_equal(shots.masks[0].numpy() > 0, wanted)


def test_a_mask_says_which_frames_of_any_file_are_abnormal(tmp_path):
    path = folders(tmp_path, ".tif")
    pages = [Image.fromarray(IMAGE)] * 3
    path.with_name("a.png").unlink(missing_ok=True)
    (tmp_path / "abnormal" / "a.png").unlink()
    pages[0].save(tmp_path / "abnormal" / "a.tif", save_all=True, append_images=pages[1:])
    marks = [Image.fromarray(MASK * (number == 1)) for number in range(3)]
    marks[0].save(path, save_all=True, append_images=marks[1:])
    slices = stream_slices(read_items(tmp_path), size=32, window="auto", plane=None)
    assert [one.item.label for one in slices] == [0, 1, 0]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: Image.fromarray(MASK).save(path, "JPEG"), "a JPEG without a value above 64"),
        (lambda path: Image.fromarray(MASK[:16]).save(path), "is 32 x 16 x 1, but the image is 32"),
        (lambda path: path.write_text("none"), "the mask of abnormal/a.png cannot be used"),
    ],
)
def test_masks_that_cannot_be_used_are_named(tmp_path, break_it, message):
    break_it(folders(tmp_path, ".png"))
    with pytest.raises(UsageError, match=message):
        list(stream_slices(read_items(tmp_path), size=32, window="auto", plane=None))


def test_a_normal_image_has_nothing_marked(tmp_path):
    FORMS["8 bits"][1](folders(tmp_path, ".png"))
    (tmp_path / "m.csv").write_text("path,label,mask\nabnormal/a.png,normal,masks/a.png\n")
    with pytest.raises(UsageError, match="is labelled normal, but its mask marks some of it"):
        list(stream_slices(read_items(tmp_path / "m.csv"), size=32, window="auto", plane=None))


def test_labels_give_the_same_detector_and_figures_as_a_plain_mask(tmp_path, backbone_folder):
    found = []
    options = FitOptions(
        shots=3, method="discriminant", backbone=f"local-dir:{backbone_folder}", folds=2
    )
    for number in range(2):
        data = tiny.write_pictures(tmp_path / str(number) / "set", 3, tests=2)
        if number:
            for path in (data / "masks").iterdir():
                mask = np.asarray(Image.open(path)) > 0
                labels = mask * (1 + np.arange(48, dtype=np.uint8)[:, None] // 12)
                Image.fromarray(labels.astype(np.uint8)).save(path)
        file = tmp_path / str(number) / "d.safetensors"
        detector, method = fit(data, options)
        detector.save(file, method)
        [evaluation] = evaluate([file], data, EvaluateOptions(draws=0)).evaluations
        toml = 'methods = ["discriminant"]\nshots = [3]\nseeds = [0]\n'
        toml += '[[data]]\nname = "a"\npath = "set"\norgan = "Brain"\n'
        (tmp_path / str(number) / "s.toml").write_text(toml)
        suite = replace(read_suite(tmp_path / str(number) / "s.toml"), backbone=options.backbone)
        (record,) = run_suite(suite, tmp_path / str(number) / "out")
        found.append((file.read_bytes(), to_plain(evaluation), record["pixels"], record["slices"]))
        shutil.rmtree(data)
    assert found[0] == found[1]
    assert found[0][2]["auroc"]["value"] is not None
