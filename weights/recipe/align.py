"""Step 3, `align`: train the text tower and both projections on captions, and write the bundle."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor

from weights.recipe.student import CONFIG, MEAN, SEED, SIZE, STD, normalised, student_tokens
from weights.recipe.views import augmented, pictures, train_cases

ORIGIN = {
    "source": "weights/recipe, distilled from DINOv2 ViT-S/14 (Apache-2.0)",
    "licence": "research use (see weights/README.md: licences of the training images)",
    "captions": ["brain", "breast", "chest", "lung", "histopathological"],
    "auroc_elsewhere": "0.41 to 0.49",
}
SUBJECTS = {
    "brain_mri_lgg": ("brain", "axial FLAIR MRI", "tumour"),
    "breast_us_busi": ("breast", "ultrasound", "mass"),
    "chest_xray_nih": ("chest", "frontal X-ray", "pneumonia"),
    "lung_ct_iqoth": ("lung", "axial CT", "nodule"),
    "histo_lung_lc25000": ("lung", "histology", "carcinoma"),
}
NORMAL = ("normal", "healthy", "unremarkable", "flawless", "without lesion", "without flaw")
ABNORMAL = ("abnormal", "diseased", "damaged", "with lesion", "with flaw", "with {finding}")
FRAMES = (
    "a {state} {modality} of the {organ}",
    "{organ} {modality}, {state}",
    "{state} {organ}",
    "a photo of a {state} {organ}",
    "medical image: {organ}, {modality}, {state}",
)


def caption(name: str, abnormal: bool, rng: np.random.Generator) -> str:
    organ, modality, finding = SUBJECTS[name]
    state = str(rng.choice(ABNORMAL if abnormal else NORMAL)).format(finding=finding)
    frame = str(rng.choice(FRAMES))
    return frame.format(state=state, modality=modality, organ=organ)


def align(args: argparse.Namespace) -> None:
    """Train the text tower and both projections on captions; the vision tower stays as it is."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED + 2)
    student = CLIP(**CONFIG)
    student.load_state_dict(torch.load(args.work / "student.pt", weights_only=True))
    student.eval()
    features, names, labels = captioned_views(student, args, rng)
    trained = [student.visual.proj, student.logit_scale]
    trained += [p for n, p in student.named_parameters() if not n.startswith(("visual", "logit"))]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.05)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    for step in range(args.steps):
        chosen = rng.choice(len(features), 96, replace=False)
        texts = [caption(names[i], labels[i], rng) for i in chosen]
        subjects = [f"{names[i]}{labels[i]}" for i in chosen]
        loss = contrast(student, features[chosen], tokenizer(texts), subjects)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            print(f"align {step}/{args.steps} loss {loss:.4f}", flush=True)
    save(student, args.out)


def captioned_views(
    student: CLIP, args: argparse.Namespace, rng: np.random.Generator
) -> tuple[Tensor, list[str], list[bool]]:
    """Four views of every picture: features (N, width), data sets, and whether abnormal."""
    pooled, names, labels = [], [], []
    for name in SUBJECTS:
        if name == args.leave_out:
            continue
        rows = list(train_cases(args.data / name))
        views = [augmented(p, rng) for p in pictures(args.data / name) for _ in range(4)]
        for start in range(0, len(views), 64):
            images = normalised(np.stack(views[start : start + 64]), SIZE)
            with torch.inference_mode():
                tokens = student_tokens(student.visual, images)
                pooled.append(student.visual.ln_post(tokens[-1])[:, 0].clone())
        names += [name for _ in views]
        labels += [row["label"] == "1" for row in rows for _ in range(4)]
    return torch.cat(pooled), names, labels


def contrast(student: CLIP, features: Tensor, tokens: Tensor, subjects: list[str]) -> Tensor:
    """CLIP's loss, but several images share one meaning: each target is spread over all that do."""
    same = torch.tensor([[float(a == b) for b in subjects] for a in subjects])
    target = same / same.sum(1, keepdim=True)
    noise = 1 + 0.1 * torch.randn_like(features)
    image = F.normalize(features * noise @ student.visual.proj, dim=-1)
    text = student.encode_text(tokens, normalize=True)
    logits = student.logit_scale.exp().clamp(max=100) * image @ text.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def save(student: CLIP, out: Path) -> None:
    """Write the student in half precision as a bundle that medscan loads."""
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": CONFIG,
        "preprocess_cfg": {"mean": MEAN, "std": STD, "resize_mode": "longest"},
    }
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = {k: v.half().contiguous() for k, v in student.state_dict().items()}
    # Bicubic interpolation with antialias has no half-precision kernel on a CPU.
    name = "visual.positional_embedding"
    state[name] = state[name].float()
    save_file(state, out / "open_clip_model.safetensors")
    digest = hashlib.sha256((out / "open_clip_model.safetensors").read_bytes()).hexdigest()
    origin = {"name": out.name, "quick_gelu": False, "sha256": digest} | ORIGIN
    (out / "medscan.json").write_text(json.dumps(origin, indent=2) + "\n")
