"""The student's vision tower, cut out of the teacher's."""

from __future__ import annotations

import math
from typing import Any

import timm
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from weights.recipe.student import CONFIG, GRID, PATCH, TEACHER_PATCH


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
