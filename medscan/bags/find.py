"""Which slices of abnormal studies differ from those of normal ones: multiple instances.

An abnormal study shows a lesion somewhere. Of all patches of all its slices, some that look least
like those of normal studies are taken for the lesion; a discriminant between them and the normal
patches says again which they are, some rounds long. As in `medscan.parts.experts`, the discriminant
is the mean of several, which start from different patches and take more or fewer of them. Each
study is scored by a model of other patients: that a model found something in a study where it was
told to is no proof that it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice

import numpy as np
import torch
from torch import Tensor

from medscan.methods import Method
from medscan.parts import Moments, PartedMemory, discriminant
from medscan.shots import LabelledSlice

DEPTHS = (0.5, 0.75)
"""Fractions of the tower's depth whose levels are looked at."""
RIDGE, SHARES, ROUNDS = 0.1, (0.05, 0.15), 3
"""Of the discriminant; parts of a study's patches that count; and how often they are chosen."""
HELD = 4096
"""Slices of abnormal studies that are learnt from, at about 250 kB each; others are only scored."""
KEPT = 32
"""Slices of normal studies that are kept of each part of the patients."""
ROWS = 1024
"""Patches that the memory of normals keeps of each level."""
LOOKED = 32
"""Slices that settle what part of an image is looked at."""
BATCH = 8

OfBag = tuple[int, LabelledSlice]
"""A slice, after the number of its bag."""
Scores = Mapping[int, Mapping[str, float]]
"""Scores of slices by their names, by the number of the bag."""


@dataclass(slots=True)
class _Part:
    """Normal studies of some patients: sums over their patches, and some slices (L, N, d)."""

    moments: list[Moments] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)


@dataclass(slots=True)
class _Held:
    """Slices of an abnormal study; tokens (S, L, N, d), float16."""

    bag: int
    names: list[str]
    tokens: Tensor


def find(
    method: Method,
    parts: Sequence[int],
    normal: Iterable[OfBag],
    abnormal: Iterable[OfBag],
) -> tuple[Scores, list[float]]:
    """Score the slices of abnormal bags, and some of normal ones, by models of other patients.

    Parameters
    ----------
    method : Method
        Makes tokens of slices: the discriminant, not fitted.
    parts : sequence of int
        Number of the part of the patients, from 0, by the number of the bag.
    normal, abnormal : iterable of (int, LabelledSlice)
        Slices bag by bag. Normal ones are read first; only some are kept.

    Returns
    -------
    (Scores, list of float)
        Scores of abnormal slices, the higher the more they differ; and of some normal ones.
    """
    encoder = _Encoder(method)
    folds = [_Part() for _ in range(max(parts, default=0) + 1)]
    for (bag, _), tokens in encoder.encode(normal):
        _take_normal(folds[parts[bag]], tokens)
    models: list[Tensor] | None = None
    held: list[_Held] = []
    scores: dict[int, dict[str, float]] = {}
    for bag, slices in groupby(encoder.encode(abnormal), key=lambda pair: pair[0][0]):
        each = list(slices)
        names = [one.item.name for (_, one), _ in each]
        study = _Held(bag, names, torch.stack([tokens for _, tokens in each]))
        if models is None and sum(len(h.names) for h in held) < HELD:
            held.append(study)
            continue
        models = models or _learn(folds, held, parts)
        scores[bag] = _scored(study, models[parts[bag]])
    if not held or not any(fold.kept for fold in folds):
        return {}, []
    models = models or _learn(folds, held, parts)
    scores |= {h.bag: _scored(h, models[parts[h.bag]]) for h in held}
    kept = [(model, t) for model, fold in zip(models, folds, strict=True) for t in fold.kept]
    return scores, [float(_largest(t[None].float(), model)) for model, t in kept]


class _Encoder:
    """Slices -> tokens of the middle levels."""

    def __init__(self, method: Method) -> None:
        self.method, self.looked = method, False
        taps = method.backbone.taps(DEPTHS)
        self.middle = [method.taps.index(tap) for tap in taps]

    @torch.inference_mode()
    def encode(self, slices: Iterable[OfBag]) -> Iterator[tuple[OfBag, Tensor]]:
        """Slices with tokens (L, N, d), float16."""
        rest = iter(slices)
        if not self.looked:
            first = list(islice(rest, LOOKED))
            if first:
                self.method.look(_images(first))
                self.looked = True
            rest = chain(first, rest)
        while batch := list(islice(rest, BATCH)):
            levels = self.method(self.method.prepare(_images(batch))).seg
            tokens = torch.stack([levels[n][:, 1:] for n in self.middle], 1).cpu().half()
            yield from zip(batch, tokens, strict=True)


def _images(slices: Sequence[OfBag]) -> Tensor:
    return torch.from_numpy(np.stack([one.image for _, one in slices]))


def _take_normal(part: _Part, tokens: Tensor) -> None:
    found = [Moments.of(level) for level in tokens.float()]
    pairs = zip(part.moments, found, strict=True)
    part.moments = [old + new for old, new in pairs] if part.moments else found
    if len(part.kept) < KEPT:
        part.kept.append(tokens)


# --- learning -------------------------------------------------------------------------------------


def _learn(folds: Sequence[_Part], held: Sequence[_Held], parts: Sequence[int]) -> list[Tensor]:
    """Planes (L, d + 1) of a model for each part of the patients, which has not seen it."""
    filled = [n for n, fold in enumerate(folds) if fold.kept]
    memory = PartedMemory(len(held[0].tokens[0]), held[0].tokens.shape[-1])
    memory.fill([torch.stack(folds[n].kept).float() for n in filled], ROWS)
    models = []
    for part in range(len(folds)):
        others = [h for h in held if parts[h.bag] != part] or list(held)
        normal = [n for n in filled if n != part] or filled
        seen = memory.without(filled.index(part)) if part in filled and len(filled) > 1 else memory
        sums = discriminant.added([folds[n].moments for n in normal])
        models.append(_planes(others, sums, seen))
    return models


def _planes(held: Sequence[_Held], normal: Sequence[Moments], memory: PartedMemory) -> Tensor:
    """Mean of discriminants that start from every patch or the farthest, and keep few or many."""
    every = _discriminant([h.tokens.float().mean((0, 2)) for h in held], normal)
    starts = (
        [_on(h, every) for h in held],
        [memory.gaps(h.tokens.float()).sum(1) for h in held],
    )
    found = [_rounds(held, scores, normal, share) for scores in starts for share in SHARES]
    return torch.stack(found).mean(0)


def _rounds(
    held: Sequence[_Held], scores: list[Tensor], normal: Sequence[Moments], share: float
) -> Tensor:
    """Choose patches by scores (S, N) of each study, and learn from them, in turn."""
    for _ in range(ROUNDS):
        chosen = [_mean_of_top(h, s, share) for h, s in zip(held, scores, strict=True)]
        planes = _discriminant(chosen, normal)
        scores = [_on(h, planes) for h in held]
    return planes


def _mean_of_top(study: _Held, scores: Tensor, share: float) -> Tensor:
    """Mean patch (L, d) of the highest scores (S, N)."""
    count = max(1, round(share * scores.numel()))
    top = scores.flatten().topk(count).indices
    return study.tokens.transpose(1, 2).flatten(0, 1)[top].float().mean(0)


def _discriminant(means: Sequence[Tensor], normal: Sequence[Moments]) -> Tensor:
    """Planes (L, d + 1) between patches of studies, of which the means (L, d) are given."""
    # The spread is that of the normal patches: lesions are of many kinds, and few.
    centre = torch.stack(list(means)).double().mean(0)
    points = [Moments(1, mean, torch.outer(mean, mean)) for mean in centre]
    pairs = zip(points, normal, strict=True)
    return torch.stack([discriminant.fisher(point, other, RIDGE) for point, other in pairs])


def _on(study: _Held, planes: Tensor) -> Tensor:
    return discriminant.on_planes(study.tokens.float(), planes)


def _largest(tokens: Tensor, planes: Tensor) -> Tensor:
    """Largest score of the patches (S, L, N, d) of each slice, (S,)."""
    return discriminant.on_planes(tokens, planes).amax(1)


def _scored(study: _Held, planes: Tensor) -> dict[str, float]:
    return dict(zip(study.names, _largest(study.tokens.float(), planes).tolist(), strict=True))


# --- choosing -------------------------------------------------------------------------------------


def choose(scores: Scores, normal: Sequence[float], most: int) -> dict[int, set[str]]:
    """Slices that are taken for abnormal: those of each bag that differ most.

    A slice that scores no higher than half of the normal slices is doubtful, and left out; but not
    the only slice of a bag, which must be what its label is about.

    Parameters
    ----------
    scores : Scores
        Of abnormal bags.
    normal : sequence of float
        Scores of normal slices.
    most : int
        Slices of a bag at most.

    Returns
    -------
    dict
        Names of slices by bag; of some bags none.
    """
    doubtful = float(np.median(normal)) if normal else -np.inf
    chosen = {}
    for bag, slices in scores.items():
        ranked = sorted(slices, key=lambda name: (-slices[name], name))
        alone = len(ranked) == 1
        chosen[bag] = {name for name in ranked[:most] if alone or slices[name] > doubtful}
    return chosen
