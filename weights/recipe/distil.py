"""Step 2, `distil`: train the cut-down student to give the teacher's tokens."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from weights.recipe.cut import cut
from weights.recipe.student import (
    CONFIG,
    GRID,
    SEED,
    SIZE,
    TAPS,
    TEACHER_SIZE,
    normalised,
    student_tokens,
)
from weights.recipe.teacher import load_teacher, teacher_tokens

HELD = 128
"""Views at the end that the student is measured on and never trained on."""


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
    """Cut the teacher down, train what is left of it, and keep it after every epoch."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED + 1)
    views = np.load(args.work / "views.npy", mmap_mode="r")
    teacher = load_teacher(args.teacher)
    targets = cache_targets(teacher, views, args.work / "targets.npy")
    student = CLIP(**CONFIG)
    basis = cut(teacher, student, normalised(views[:96], TEACHER_SIZE))
    if args.resume:
        student.load_state_dict(torch.load(args.work / "student.pt", weights_only=True))
    training = Training(student.visual, first_heads(basis), views, targets, args)
    for epoch in range(args.epochs):
        training.run(epoch, rng.permutation(len(views) - HELD))
        print(f"epoch {epoch} held-out {training.held_out():.4f}")
        torch.save(student.state_dict(), args.work / "student.pt")


def first_heads(basis: Tensor) -> nn.ModuleList:
    """A linear map a tap from student tokens to teacher tokens: at first, `cut` undone."""
    heads = nn.ModuleList(nn.Linear(basis.shape[0], basis.shape[1]) for _ in TAPS)
    for head in heads:
        with torch.no_grad():
            head.weight.copy_(basis.T * math.sqrt(basis.shape[1] / basis.shape[0]))
            head.bias.zero_()
    return heads


class Training:
    """The student's vision tower and its heads on their way to the teacher's tokens."""

    def __init__(
        self,
        tower: nn.Module,
        heads: nn.ModuleList,
        views: np.ndarray,
        targets: np.ndarray,
        args: argparse.Namespace,
    ) -> None:
        self.tower, self.heads = tower.requires_grad_(True), heads
        self.views, self.targets = views, targets
        self.batch, self.rate = args.batch, args.lr
        named = tower.named_parameters()
        self.parameters = [p for n, p in named if not n.startswith(("proj", "ln_post"))]
        self.optimiser = torch.optim.AdamW(
            [{"params": self.parameters}, {"params": heads.parameters()}],
            lr=args.lr,
            weight_decay=0.02,
        )
        self.step, self.steps = 0, args.epochs * ((len(views) - HELD) // args.batch)
        self.started = time.monotonic()

    def run(self, epoch: int, order: np.ndarray) -> None:
        """Learn from views once, in this order."""
        for start in range(0, len(order) - self.batch + 1, self.batch):
            loss = self._learn(np.sort(order[start : start + self.batch]))
            if self.step % 50 == 0:
                spent = time.monotonic() - self.started
                where = f"epoch {epoch} step {self.step}/{self.steps}"
                print(f"{where} loss {loss:.4f} {spent:.0f}s", flush=True)
            self.step += 1

    def _learn(self, chosen: np.ndarray) -> Tensor:
        warm = min(1.0, (self.step + 1) / 100)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * warm * cosine
        with torch.autocast("cpu", torch.bfloat16):
            given = student_tokens(self.tower, normalised(self.views[chosen], SIZE))
        loss = distance([g.float() for g in given], self.heads, self._wanted(chosen))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        return loss

    @torch.inference_mode()
    def held_out(self) -> float:
        """Distance on the views that are never learnt from."""
        held = slice(len(self.views) - HELD, len(self.views))
        given = student_tokens(self.tower, normalised(self.views[held], SIZE))
        return float(distance(given, self.heads, self._wanted(held)))

    def _wanted(self, chosen: np.ndarray | slice) -> list[Tensor]:
        tokens = np.asarray(self.targets[chosen], np.float32)
        return list(torch.from_numpy(tokens).unbind(1))
