"""Speed of medscan's fitting, compared with a loop that recomputes everything to the same losses.

    python tests/benchmarks/fit_speed.py mvfa madclip --shots 16 --steps 64

The reference does in each step what the published code does: it runs the whole tower from pixels,
with gradients for frozen weights and attention that stores its weights, encodes all 77 tokens of
every sentence, and computes losses on two channels; MVFA's also rebuilds its memory after each
epoch. Both sides start from one state of the `paper` protocol, at the backbone's own size, and see
the same batches; neither tests. Times are CPU seconds of one thread. The ratio of a whole run
counts the preparation once and extrapolates the measured steps to all epochs.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from medscan import clip
from medscan.fitting import augment
from medscan.fitting.train import Prepared, batches, prepare, remember, step
from medscan.methods import Method, build, settings_of
from medscan.shots import read_items
from medscan.shots.shots import Shots, draw_shots


def generated(count: int, size: int) -> Shots:
    """Generated images with bright discs; only their number and size matter here."""
    draw = torch.Generator().manual_seed(0)
    images = 0.4 + 0.1 * torch.rand(2 * count, 1, size, size, generator=draw)
    labels = torch.arange(2 * count) % 2
    axis = torch.arange(size) / size - 0.5
    disc = (axis[:, None] ** 2 + axis[None, :] ** 2 < 0.01).float()
    masks = labels[:, None, None] * disc
    return Shots(
        [str(n) for n in range(2 * count)],
        (images + 0.5 * masks[:, None]).expand(-1, 3, -1, -1).contiguous(),
        labels.float(),
        masks.float(),
        torch.ones(2 * count) > 0,
        torch.arange(2 * count),
        torch.zeros(2 * count, dtype=torch.int64),
    )


# --- the reference ------------------------------------------------------------------------------


def with_weights(block):
    """Attention that also stores its T x T weights, as in the published towers."""

    def attention(q_x, k_x=None, v_x=None, attn_mask=None):
        return block.attn(q_x, q_x, q_x, need_weights=True, attn_mask=attn_mask)[0]

    return attention


def focal(p: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """On two channels (B, 2, S, S), with a one-hot target, as published."""
    one_hot = torch.stack([1 - mask, mask], 1).clamp(1e-5, 1 - 1e-5)
    likelihood = (one_hot * p).sum(1) + 1e-5
    return (-((1 - likelihood) ** 2) * likelihood.log()).mean()


def dice(p: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    p, mask = p.flatten(1), mask.flatten(1)
    return 1 - ((2 * (p * mask).sum(1) + 1) / (p.sum(1) + mask.sum(1) + 1)).mean()


def enlarged(patches: torch.Tensor, size: int) -> torch.Tensor:
    side = round(patches.shape[1] ** 0.5)
    grid = patches.transpose(1, 2).reshape(len(patches), 2, side, side)
    return F.interpolate(grid, size, mode="bilinear", align_corners=True).softmax(1)


def mvfa_loss(method: Method, images, labels, masks) -> torch.Tensor:
    seg, det = [], []

    def adapt(block, tokens):
        if block not in method.taps:
            return tokens
        level = method.taps.index(block)
        mixed = 0.8 * tokens
        for features, branch in ((seg, method.seg), (det, method.det)):
            features.append(branch[level](tokens))
            mixed = mixed + 0.1 * branch[level].update(features[-1])
        return mixed

    method.backbone.features(images, method.taps, adapt, pooled=True)
    loss = 0.0
    for level in range(len(method.taps)):
        cosine = 100 * F.normalize(det[level][:, 1:], dim=-1) @ method.text.t()
        loss += F.binary_cross_entropy_with_logits(cosine.softmax(-1)[..., 1].mean(1), labels)
        cosine = 100 * F.normalize(seg[level][:, 1:], dim=-1) @ method.text.t()
        p = enlarged(cosine, masks.shape[-1])
        loss += focal(p, masks) + dice(p[:, 1], masks)
    return loss


def madclip_loss(method: Method, images, labels, masks) -> torch.Tensor:
    levels = method.backbone.features(images, method.taps, pooled=True).levels
    text = method.sentences()
    loss, sign = 0.0, (2 * labels - 1)[:, None]
    for adapter, tokens in zip(method.adapters, levels, strict=True):
        n, a = (F.normalize(part[:, 1:], dim=-1) for part in adapter(tokens))
        # (B, N, head, class): det, then seg; normal, then abnormal.
        s = torch.stack([n @ text[0] - n @ text[1], a @ text[1] - a @ text[0]], -1)
        det, seg = s[:, :, 0], s[:, :, 1]
        loss -= (F.logsigmoid(-sign * det[..., 0]) + F.logsigmoid(sign * det[..., 1])).mean()
        p = enlarged(seg, masks.shape[-1])
        loss += focal(p, masks) + dice(p[:, 1], masks)
    return loss


LOSSES = {"mvfa": mvfa_loss, "madclip": madclip_loss}


def reference(method: Method, shots: Shots, order, seed: int) -> tuple[list[float], float, float]:
    """Losses of each step, CPU seconds a step, and CPU seconds of an epoch's end."""
    recipe = method.settings.augmentation
    images = torch.stack([augment.variants(i[None], recipe)[0] for i in shots.images])
    if recipe == "madclip":
        unchanged = images[:, augment.JITTER]
        factors = augment.jitter_factors(len(shots), torch.Generator().manual_seed(seed))
        factors = factors[1 - shots.labels.long()]
        images[:, augment.JITTER] = augment.jitter(unchanged, factors, by_column=True)
    masks = (augment.variants(shots.masks[:, None], recipe)[:, :, 0] > 0.5).float()
    optimisers = method.optimisers()
    losses, start = [], time.process_time()
    for rows in order:
        i, v = rows[:, 0], rows[:, 1]
        loss = LOSSES[method.name](method, images[i, v], shots.labels[i], masks[i, v])
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(float(loss.detach()))
    each = (time.process_time() - start) / len(order)
    start = time.process_time()
    if method.name == "mvfa":
        with torch.no_grad():
            for image in images[shots.labels == 0].flatten(0, 1):
                method(method.prepare(image[None]))
    return losses, each, time.process_time() - start


# --- medscan ------------------------------------------------------------------------------------


def ours(method: Method, data: Prepared, order) -> tuple[list[float], float]:
    optimisers = method.optimisers()
    start = time.process_time()
    losses = [step(method, data, rows, optimisers) for rows in order]
    return losses, (time.process_time() - start) / len(order)


def compare(name: str, backbone: clip.Backbone, shots: Shots, steps: int, seed: int = 0) -> None:
    settings = settings_of(name, "paper", size=None, quick_gelu=None)
    torch.manual_seed(seed)
    method = build(name, backbone, "Brain", settings, masked=True).train()
    naive = copy.deepcopy(method)
    start = time.process_time()
    data = prepare(method, shots, seed)
    once = time.process_time() - start
    order = batches(len(shots), method, torch.Generator().manual_seed(seed))
    count, order = len(order), order[:steps]
    our_losses, each = ours(method, data, order)
    start = time.process_time()
    if name == "mvfa":
        remember(method, data)
    once += time.process_time() - start  # once, at the end of training
    naive.backbone.model.requires_grad_(True)
    for block in naive.backbone.model.visual.transformer.resblocks:
        block.attention = with_weights(block)
    wanted, naive_each, naive_end = reference(naive, shots, order, seed)
    off = max(abs(a - b) / abs(b) for a, b in zip(our_losses, wanted, strict=True))
    epochs = settings.epochs
    whole = epochs * (count * naive_each + naive_end) / (once + epochs * count * each)
    print(
        f"{name}: {naive_each:.3f} s a step recomputing everything, {each:.3f} s here: "
        f"{naive_each / each:.1f} times; whole run of {epochs} epochs x {count} steps, "
        f"preparation {once:.0f} s: {whole:.1f} times; losses of {len(order)} steps "
        f"within {off:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", default=["mvfa", "madclip"])
    parser.add_argument("--data", type=Path, help="as for medscan fit; default: generated")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--backbone", default="medscan-mini")
    args = parser.parse_args()
    torch.set_num_threads(1)
    backbone = clip.load(args.backbone)
    if args.data is None:
        shots = generated(args.shots, backbone.size)
    else:
        items = read_items(args.data)
        shots = draw_shots(items, args.shots, 0, size=backbone.size, window="auto", plane=None)
    for name in args.methods:
        compare(name, backbone, shots, args.steps)


if __name__ == "__main__":
    main()
