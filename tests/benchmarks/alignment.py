"""How well a backbone's text tower describes images: prompts alone, nothing fitted.

    python tests/benchmarks/alignment.py --data DATA [--backbone medscan-mini]

On the test images (by `split_hint`) of five public sets: how often the nearest prompt names the
right one of five kinds of image, and the AUROC of ranking by "abnormal" against "normal" prompts of
that kind, each with an interval by patient.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medscan import clip, metrics
from medscan.clip import Backbone
from medscan.shots.data import read_items
from medscan.shots.shots import stream_slices

KINDS = {
    "brain_mri_lgg": "brain MRI",
    "breast_us_busi": "breast ultrasound",
    "chest_xray_nih": "chest X-ray",
    "lung_ct_iqoth": "lung CT",
    "histo_lung_lc25000": "lung histology",
}
FRAMES = ("{}", "a photo of a {}", "medical image: {}", "an image of {}")
NORMAL = ("normal {}", "healthy {}", "{}, unremarkable", "{} without lesion")
ABNORMAL = ("abnormal {}", "diseased {}", "{}, abnormal", "{} with lesion")


def feature(
    backbone: Backbone, frames: tuple[str, ...], kind: str, states: tuple[str, ...] = ("{}",)
) -> Tensor:
    """Unit vector (D,) of a kind of image: mean over all states and frames."""
    phrases = [state.format(kind) for state in states]
    return backbone.sentence_feature([f.format(p) for f in frames for p in phrases])


@torch.inference_mode()
def images_of(backbone: Backbone, folder: Path) -> tuple[Tensor, NDArray[np.int64], list[str]]:
    """Unit embeddings (N, D), labels and patients of the test images."""
    items = read_items(folder, "test")
    embeddings, labels, patients = [], [], []
    for labelled in stream_slices(items, size=backbone.size, window="auto", plane=None):
        batch = backbone.normalise(torch.tensor(labelled.image[None]))
        embeddings.append(backbone.features(batch, (), pooled=True).pooled)
        labels.append(labelled.item.label)
        patients.append(labelled.item.patient)
    return F.normalize(torch.cat(embeddings).float(), dim=-1), np.array(labels), patients


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure zero-shot text alignment.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="medscan-mini")
    args = parser.parse_args()
    backbone = clip.load(args.backbone)
    kinds = torch.stack([feature(backbone, FRAMES, kind) for kind in KINDS.values()])
    hits_of_sets, groups = [], []
    for index, (name, kind) in enumerate(KINDS.items()):
        images, labels, patients = images_of(backbone, args.data / name)
        hits = ((images @ kinds.T).argmax(1) == index).numpy()
        normal, abnormal = (
            feature(backbone, FRAMES, kind, states) for states in (NORMAL, ABNORMAL)
        )
        auroc = metrics.image_figures(
            labels, (images @ (abnormal - normal)).numpy(), patients
        ).auroc
        print(
            f"{name}: {len(labels)} images, kind right {hits.mean():.3f}; abnormal against normal "
            f"AUROC {auroc.value:.3f} ({auroc.low:.3f}-{auroc.high:.3f})"
        )
        hits_of_sets.append(hits)
        groups += [f"{name}/{patient}" for patient in patients]
    all_hits = np.concatenate(hits_of_sets)
    low, high = metrics.bootstrap(groups, lambda i: all_hits[i].mean())
    print(f"all: {len(all_hits)} images, kind right {all_hits.mean():.3f} ({low:.3f}-{high:.3f})")


if __name__ == "__main__":
    main()
