"""The training loop: adapters only, on what was computed once of every image."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medscan.clip import multiplying_in_bf16
from medscan.errors import UsageError
from medscan.fitting import augment
from medscan.fitting.features import FeatureCache, View, feature_name
from medscan.methods import Batch, Examples, Method
from medscan.parts import losses
from medscan.runtimes import computes_bf16
from medscan.shots import Shots

Progress = Callable[[int, int, float], None]
"""`progress(step, steps, loss)` after each step of a training."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Shots in all variants, as far as no training changes them.

    Parameters
    ----------
    tokens : Tensor (I, V, ...)
        What `Method.prepare` made of them, first of the image itself.
    masks : Tensor (I, V, S, S) or None
        bool.
    shots : Shots
    """

    tokens: Tensor
    masks: Tensor | None
    shots: Shots

    def take(self, chosen: Tensor) -> Prepared:
        """The images where `chosen` (I,), bool, is True."""
        masks = None if self.masks is None else self.masks[chosen]
        return Prepared(self.tokens[chosen], masks, self.shots.take(chosen))

    def batch(self, images: Tensor, variant: Tensor, device: torch.device) -> Batch:
        """The variants (B,) of the images (B,)."""
        masks = None if self.masks is None else self.masks[images, variant].float().to(device)
        return Batch(
            self.tokens[images, variant].to(device),
            self.shots.labels[images].to(device),
            masks,
            self.shots.masked[images].to(device),
            self.shots.organs[images].to(device),
        )


def examples(data: Prepared) -> Examples:
    """The same for a method that learns from all shots at once."""
    shots = data.shots
    everyone = torch.ones(len(shots), dtype=torch.bool)
    typical = everyone if shots.typical is None else shots.typical
    return Examples(data.tokens, shots.labels, data.masks, shots.masked, typical)


@torch.no_grad()
def prepare(
    method: Method,
    shots: Shots,
    seed: int,
    cache: FeatureCache | None = None,
    told: Callable[[], None] | None = None,
) -> Prepared:
    """Augment and run what comes before anything trained, once.

    Parameters
    ----------
    method : Method
    shots : Shots
    seed : int
        Of the jitter.
    cache : FeatureCache, optional
        Where features of earlier fits are.
    told : callable, optional
        Called for each image that was not there.
    """
    views = [
        _view(method, *pair)
        for pair in zip(shots.images, _factors(method, shots, seed), strict=True)
    ]
    tokens = []
    for image, view in zip(shots.images, views, strict=True):
        name = feature_name(method, image, view) if cache else ""
        found = cache.find(name) if cache else None
        if found is None:
            found = _features(method, image, view)
            if cache is not None:
                cache.keep(name, found)
            if told is not None:
                told()
        tokens.append(found)
    masks = None
    if shots.masks is not None:
        every = augment.variants(shots.masks[:, None], method.settings.augmentation)[:, :, 0] > 0.5
        chosen = torch.tensor([view.variants for view in views])
        masks = every[torch.arange(len(shots))[:, None], chosen]
    return Prepared(torch.stack(tokens), masks, shots)


def unprepared(method: Method, shots: Shots, seed: int, cache: FeatureCache) -> int:
    """Images whose features `prepare` would not find in the cache."""
    pairs = zip(shots.images, _factors(method, shots, seed), strict=True)
    names = (feature_name(method, image, _view(method, image, factor)) for image, factor in pairs)
    return sum(not cache.has(name) for name in names)


def visited(method: Method) -> int:
    """Variants of an image that a training visits at most, or a memory holds."""
    settings, every = method.settings, augment.count(method.settings.augmentation)
    some = settings.variants == "one" and not (method.at_once or method.remembers_variants)
    return min(every, max(settings.epochs, 1)) if some else every


def _view(method: Method, image: Tensor, factors: Tensor) -> View:
    """The image itself, and as many of its variants as are visited; the image alone says which."""
    every, some = augment.count(method.settings.augmentation), visited(method)
    digest = hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
    drawn = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
    others = 1 + torch.randperm(every - 1, generator=drawn)[: some - 1].sort().values
    variants = (0, *others.tolist())
    jittered = method.settings.augmentation == "madclip" and augment.JITTER in variants
    return View(variants, tuple(factors.tolist()) if jittered else None)


def _features(method: Method, image: Tensor, view: View) -> Tensor:
    """Tokens (V, ...) of the variants of an image (3, S, S), on the CPU."""
    found = augment.variants(image[None], method.settings.augmentation)[0]
    if view.jitter is not None:
        one = slice(augment.JITTER, augment.JITTER + 1)
        factors = torch.tensor([view.jitter])
        found[one] = augment.jitter(found[one], factors, by_column=_jitters_by_column(method))
    return method.prepare(found[list(view.variants)]).cpu()


def _jitters_by_column(method: Method) -> bool:
    """Whether contrast and its factors are those of MadCLIP's published code."""
    return bool(getattr(method.settings, "legacy_jitter", False))


def _factors(method: Method, shots: Shots, seed: int) -> Tensor:
    """(I, 2); the published MadCLIP draws one pair for all abnormal and one for all normal ones."""
    drawn = augment.jitter_factors(max(len(shots), 2), torch.Generator().manual_seed(seed))
    return drawn[1 - shots.labels.long()] if _jitters_by_column(method) else drawn[: len(shots)]


def train(
    method: Method,
    data: Prepared,
    seed: int,
    progress: Progress | None = None,
    judge: Callable[[Method], float] | None = None,
) -> bool:
    """Train a method's parameters; Ctrl-C ends it with the best epoch so far.

    Parameters
    ----------
    method : Method
        Freshly built; trained in place.
    data : Prepared
    seed : int
        Of the order of images and the choice of variants.
    progress : Progress, optional
        Told of every step.
    judge : callable, optional
        The epoch it gives the highest value is kept, instead of the last.

    Returns
    -------
    bool
        Whether all epochs were run.

    Raises
    ------
    UsageError
        The loss of an epoch is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimisers = method.optimisers()
    kept = _Kept()
    epochs = method.settings.epochs
    method.train()
    try:
        for epoch in range(epochs):
            for group in (g for o in optimisers for g in o.param_groups):
                group["lr"] = method.rate(epoch)
            loss = _epoch(method, data, optimisers, generator, _later(progress, epoch, epochs))
            if not math.isfinite(loss):
                raise UsageError(
                    f"the loss of epoch {epoch + 1} is not finite; choose a smaller learning_rate"
                )
            kept.offer(method, -loss if judge is None else _judged(method, data, judge))
    except KeyboardInterrupt:
        if kept.state is None:
            raise  # nothing was learnt that could be kept
        method.load_state_dict(kept.state)
        return False
    else:
        if judge is not None and kept.state is not None:
            method.load_state_dict(kept.state)
    finally:
        method.eval()
    return True


class _Kept:
    """The parameters that were worth most."""

    def __init__(self) -> None:
        self.value = -math.inf
        self.state: dict[str, Tensor] | None = None

    def offer(self, method: Method, value: float) -> None:
        """Keep the method's state if it is worth more than what is kept."""
        if value > self.value:
            self.value, self.state = value, copy.deepcopy(method.state_dict())


def _judged(method: Method, data: Prepared, judge: Callable[[Method], float]) -> float:
    """What an epoch is worth, with the memory that it would have."""
    method.eval()
    remember(method, data)
    value = judge(method)
    if math.isnan(value):
        raise UsageError("--select test: the test split has images of one label only")
    method.train()
    return value


def _later(progress: Progress | None, epoch: int, epochs: int) -> Progress:
    """Tell of the steps of an epoch, counted from 0, as steps of all epochs."""

    def told(step: int, steps: int, loss: float) -> None:
        if progress is not None:
            progress(epoch * steps + step, epochs * steps, loss)

    return told


def _epoch(
    method: Method,
    data: Prepared,
    optimisers: list[torch.optim.Optimizer],
    generator: torch.Generator,
    progress: Progress,
) -> float:
    """One pass; returns the mean loss of its steps."""
    order = batches(len(data.shots), method, generator)
    found = []
    for rows in order:
        found.append(step(method, data, rows, optimisers))
        progress(len(found), len(order), found[-1])
    return sum(found) / len(found)


def step(
    method: Method, data: Prepared, rows: Tensor, optimisers: list[torch.optim.Optimizer]
) -> float:
    """Learn from the (image, variant) pairs `rows` (B, 2); returns the loss before it."""
    batch = data.batch(rows[:, 0], rows[:, 1], method.backbone.device)
    with multiplying_in_bf16(wanted=_mixes(method)):
        levels = method(batch.prepared, batch.organs)
    loss = losses.total(method.terms(levels, batch))
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for optimiser in method.active_optimisers(optimisers, batch):
        optimiser.step()
    return float(loss.detach())


def _mixes(method: Method) -> bool:
    """Whether training multiplies in bfloat16: only on a CPU that is faster at it."""
    backbone = method.backbone
    return backbone.mixed and backbone.device.type == "cpu" and computes_bf16()


def batches(images: int, method: Method, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Batches of (image, variant) pairs, (B, 2), of one epoch."""
    count = visited(method)
    if method.settings.variants == "all":
        every = torch.arange(images * count)
        pairs = torch.stack([every // count, every % count], 1)
    else:
        chosen = torch.randint(count, (images,), generator=generator)
        pairs = torch.stack([torch.arange(images), chosen], 1)
    shuffled = pairs[torch.randperm(len(pairs), generator=generator)]
    return torch.split(shuffled, method.settings.batch)


def remember(method: Method, data: Prepared) -> None:
    """Show the trained method its normal shots, in the variants that its settings ask for."""
    normal = data.shots.labels == 0
    every = method.remembers_variants
    count = visited(method) if every else 1
    tokens = data.tokens[normal][:, :count].flatten(0, 1)
    patients = data.shots.patients[normal].repeat_interleave(count)
    parts = [part.to(method.backbone.device) for part in torch.split(tokens, 16)]
    method.remember(parts, patients)


@torch.inference_mode()
def scores(method: Method, data: Prepared) -> tuple[Tensor, Tensor]:
    """Scores (I,) and maps (I, G, G) of the images as they are, on the CPU."""
    found = [
        method.score(method(part.to(method.backbone.device)))
        for part in torch.split(data.tokens[:, 0], 16)
    ]
    return torch.cat([s for s, _ in found]).cpu(), torch.cat([m for _, m in found]).cpu()
