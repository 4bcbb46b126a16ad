"""A tiny CLIP, phantoms and archives, all made by code.

Imports models' libraries only to make them: worker processes of tests import this file too.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

CONFIG = {
    "embed_dim": 24,
    "quick_gelu": False,
    "vision_cfg": {
        "image_size": 64,
        "layers": 4,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}


def write_backbone(folder: Path, config: dict = CONFIG, seed: int = 0) -> Path:
    """A CLIP with random weights in open_clip's local-dir layout."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(**config)
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def phantom(rng: np.random.Generator, *, lesion: bool, side: int = 48) -> tuple:
    """A textured disc (side, side) float in [0, 1], and the mask of its bright lesion."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    image = 0.4 * (np.hypot(x, y) < 0.42) + 0.05 * rng.random((side, side))
    cx, cy = rng.uniform(-0.2, 0.2, 2)
    mask = (np.hypot(x - cx, y - cy) < 0.1) & lesion
    return np.clip(image + 0.5 * mask, 0, 1), mask


def write_pictures(
    data: Path, patients: int = 6, each: int = 1, *, masks: bool = True, tests: int = 0
) -> Path:
    """`normal/`, `abnormal/`, `masks/` and cases.csv with the given number of patients a label.

    `tests` more patients of each label are of the test split.
    """
    rng = np.random.default_rng(1)
    rows = ["case,patient,split"]
    for label in ("normal", "abnormal"):
        for patient in range(patients + tests):
            split = "train" if patient < patients else "test"
            for number in range(each):
                name = f"{label}_p{patient}_{number}"
                image, mask = phantom(rng, lesion=label == "abnormal")
                _save(data / label / f"{name}.png", image)
                if masks and label == "abnormal":
                    _save(data / "masks" / f"{name}.png", mask)
                rows.append(f"{name},{label}{patient},{split}")
    (data / "cases.csv").write_text("\n".join(rows) + "\n")
    return data


def make_others(data: Path) -> None:
    """Turn what `write_pictures` wrote into pictures of other patients."""
    for path in data.glob("*/*.png"):
        with Image.open(path) as image:
            image.rotate(90).save(path)
    cases = data / "cases.csv"
    cases.write_text(cases.read_text().replace(",normal", ",n").replace(",abnormal", ",a"))


def remove(data: Path, *starts: str) -> None:
    """Remove pictures whose names start so, their masks, and their rows of cases.csv."""
    for path in data.glob("*/*.png"):
        if path.name.startswith(starts):
            path.unlink()
    cases = data / "cases.csv"
    rows = cases.read_text().splitlines()
    cases.write_text("".join(f"{row}\n" for row in rows if not row.startswith(starts)))


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 255).astype(np.uint8)).save(path)


def write_nifti(path: Path, volume: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A volume (x, y, z) as NIfTI, RAS 1 mm unless told otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.eye(4) if affine is None else affine), path)
    return path


def head_volume(seed: int, slices: int = 6, side: int = 48) -> np.ndarray:
    """Phantom slices stacked, (side, side, slices) int16; the second last has a lesion."""
    rng = np.random.default_rng(seed)
    planes = [phantom(rng, lesion=k == slices - 2, side=side)[0] for k in range(slices)]
    return (np.stack(planes, -1) * 1000).astype(np.int16)


def write_series(
    folder: Path, volume: np.ndarray, *, study: str = "", description: str = "AX FLAIR", **tags: str
) -> Path:
    """A volume (x, y, z) as an axial MR series, a file a slice, 1 mm; x grows to the left."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = study or generate_uid(), generate_uid()
    for number in range(volume.shape[2]):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.Modality, data.BodyPartExamined = "MR", "BRAIN"
        data.SeriesDescription, data.PatientID = description, "P1"
        data.StudyDate, data.InstanceNumber = "20240102", number + 1
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [0, 0, number]
        data.PixelSpacing, data.SliceThickness = [1, 1], 1
        plane = np.ascontiguousarray(volume[:, :, number].T)
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 1
        data.PixelData = plane.astype("<i2").tobytes()
        for name, value in tags.items():
            setattr(data, name, value)
        data.save_as(folder / f"{number:04d}", enforce_file_format=True)
    return folder


def write_tower(folder: Path, architecture: str, *, side: int = 64, seed: int = 0, **args) -> Path:
    """A vision tower of timm alone, with random weights, in timm's own layout."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(architecture, num_classes=0, img_size=side, **args)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    trained = {"input_size": [3, side, side], "mean": [0.5] * 3, "std": [0.25] * 3}
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "model_args": args,
        "pretrained_cfg": trained | {"license": "cc-by-4.0"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    return folder
