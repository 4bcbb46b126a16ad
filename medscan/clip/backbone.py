"""A frozen model whose tokens can be read after any block and changed between blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medscan.clip.linear import speed_up
from medscan.clip.towers import tower_of
from medscan.errors import UsageError, WeightsError
from medscan.tiles import Tiling

Hook = Callable[[int, Tensor], Tensor]
"""`hook(i, tokens)` takes the tower's own tokens (B, T, d) after block i (0: the embeddings) and
returns those for the next block; where the backbone does not lack `Need.TOKENS` it may change their
number, but keeps the class token first."""

END = 49407
"""CLIP's end token, the highest of its words."""


class Need(StrEnum):
    """What a method may need of a backbone, beside the tokens of images."""

    SENTENCES = "sentences"
    TOKENS = "tokens of its own between the blocks"
    NO_ATTENTION = "blocks without their attention"
    ONE_RUN = "an image in one run"


@dataclass(frozen=True, slots=True)
class Features:
    """Output of the vision tower for a batch.

    Parameters
    ----------
    levels : tuple of Tensor
        Tokens (B, 1 + N, d) after each tapped block, before the hook changes them: one for the
        image, see `Backbone.arrange`, and then the patches, row by row.
    last : Tensor
        The tower's own tokens (B, T, d) after the last block that ran, from which `Backbone.run`
        can go on; of an image in tiles those of the whole.
    pooled : Tensor or None
        Image embedding (B, D), not normalised; None unless requested.
    """

    levels: tuple[Tensor, ...]
    last: Tensor
    pooled: Tensor | None


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token embeddings of sentences, cut after the longest sentence's end token.

    Parameters
    ----------
    embeddings : Tensor (P, L, d_t)
        Token embeddings without positions.
    end : Tensor (P,)
        int64, index of each sentence's end token, from which its feature is read.
    """

    embeddings: Tensor
    end: Tensor


class Backbone:
    """A frozen vision transformer: tokens of an image at chosen blocks; of a CLIP also sentences.

    Parameters
    ----------
    model : Module
        open_clip's CLIP or CustomTextCLIP, or a module with only a vision tower as `visual`. Put
        into eval mode and frozen here.
    tokenizer : callable or None
        open_clip's tokenizer of the model: list of str -> int64 (P, context). None for a model
        without sentences, or with those of another tokenizer than CLIP's.
    name, digest : str
        Name that the user gave, and SHA-256 that detectors record.
    size : int
        Side of its square input in pixels.
    tiles : int
        Tiles along a side of the square that images are given as, see `medscan.tiles`; with 1 that
        square is the input.
    mixed : bool
        Whether methods on it may learn by products in bfloat16.
    mean, std : tuple of 3 floats
        Normalisation in the checkpoint's configuration.
    licence : str
        Licence of the weights, which detectors record.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor] | None,
        *,
        name: str,
        digest: str,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        licence: str = "unknown",
        tiles: int = 1,
        mixed: bool = False,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        speed_up(self.model)
        self.tokenizer: Any = tokenizer
        self._meanings: dict[tuple[str, ...], Tensor] = {}
        self.name, self.digest, self.tile, self.mixed = name, digest, size, mixed
        self.mean, self.std, self.licence = tuple(mean), tuple(std), licence
        self.between_blocks: Callable[[], object] = lambda: None
        """Called before each block of the vision tower; an error that it raises ends the run."""
        scale = getattr(model, "logit_scale", None)
        self.logit_scale = 1.0 if scale is None else float(scale.exp())
        """Factor on cosines that the checkpoint was trained with."""
        self._tower = tower_of(model.visual, name)
        weight = next(self.model.visual.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(3, 1, 1) for values in (mean, std)
        )
        with torch.inference_mode():
            tokens = self._tower.embed(self._blank())
        self.width: int = tokens.shape[-1]
        patches = tokens.shape[1] - self._tower.prefix
        self.grid: int = round(patches**0.5)
        if self.grid**2 != patches:
            raise WeightsError(
                f"backbone {name}: its patches are not a square grid; choose another model"
            )
        self.tiling = Tiling(size, self.patch, self.grid, tiles) if tiles > 1 else None
        self.size: int = size
        if self.tiling is not None:
            self.size, self.grid = self.tiling.size, self.tiling.grid

    def lacks(self, need: Need) -> str:
        """Why the backbone has not what a method needs, as a clause; empty if it has."""
        if need is Need.SENTENCES:
            return self._without_sentences()
        if need is Need.TOKENS and not self._tower.takes_tokens:
            return "has other tokens than a class token and patches, or a place for each"
        if need is Need.ONE_RUN and self.tiling is not None:
            return "looks at it tile by tile"
        if need is Need.NO_ATTENTION and not self._tower.skips_attention:
            return "has blocks of another kind than CLIP's"
        return ""

    def check_serves(
        self, method: str, needs: Sequence[Need], others: Mapping[str, Sequence[Need]]
    ) -> None:
        """Refuse a method whose needs the backbone lacks, by naming `others` that it serves.

        Raises
        ------
        UsageError
        """
        for need in needs:
            if why := self.lacks(need):
                able = ", ".join(
                    n for n, theirs in others.items() if not any(map(self.lacks, theirs))
                )
                raise UsageError(
                    f"method {method} needs {need}, and backbone {self.name} {why}; use {able}"
                )

    def _blank(self) -> Tensor:
        return torch.zeros(1, 3, self.tile, self.tile, device=self.device, dtype=self.dtype)

    @property
    def depth(self) -> int:
        """Number of blocks of the vision tower."""
        return len(self._tower.blocks)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels; pixels beyond the last whole patch are not seen."""
        return self._tower.patch

    @property
    def joint_width(self) -> int:
        """Dimension D that images and sentences share."""
        if getattr(self, "_joint", None) is None:
            with torch.inference_mode():
                self._joint: int = self._tower.pool(self._tower.embed(self._blank())).shape[-1]
        return self._joint

    @property
    def text_width(self) -> int:
        """Width d_t of the text tower."""
        return int(self._text.token_embedding.weight.shape[1])

    def taps(self, fractions: Sequence[float] = (0.25, 0.5, 0.75, 1.0)) -> tuple[int, ...]:
        """Blocks (1-based) at these fractions of the depth, such as 6, 12, 18, 24 of 24.

        A tower with fewer blocks than fractions is tapped after each block once.
        """
        return tuple(dict.fromkeys(max(1, round(f * self.depth)) for f in fractions))

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images (B, 3, S, S) in [0, 1] by the checkpoint's mean and deviation."""
        return (images - self._mean.to(images)) / self._std.to(images)

    def arrange(self, tokens: Tensor) -> Tensor:
        """The tower's own tokens (B, T, d) -> one for the image, then the patches: (B, 1 + N, d).

        The first is the class token, or the mean of the patches in a tower that has none, as in
        those whose attention pool reads only the last block. Registers are left out.
        """
        tower = self._tower
        if tower.has_class and tower.prefix == 1:
            return tokens
        patches = tokens[:, tower.prefix :]
        first = tokens[:, :1] if tower.has_class else patches.mean(1, keepdim=True)
        return torch.cat([first, patches], 1)

    # --- images -------------------------------------------------------------------------------

    def embed(self, images: Tensor) -> Tensor:
        """Normalised input (B, 3, S, S) -> the tower's own tokens (B, T, d) before its blocks."""
        return self._tower.embed(images.to(self.device, self.dtype))

    def run(
        self,
        tokens: Tensor,
        first: int,
        taps: Sequence[int],
        hook: Hook | None = None,
        *,
        pooled: bool = False,
        attend: bool = True,
    ) -> Features:
        """Continue from the tower's own tokens after block `first` (0: the embeddings).

        Blocks beyond the last tap run only for `pooled`. Without `attend` each block skips its
        attention, as MedVMAD's published code does.
        """
        last = self.depth if pooled else max(taps, default=first)
        levels: list[Tensor] = []
        for number in range(first + 1, last + 1):
            self.between_blocks()
            step = self._tower.block if attend else self._tower.feed_forward
            tokens = step(number, tokens)
            if number in taps:
                levels.append(self.arrange(tokens))
            if hook is not None:
                tokens = hook(number, tokens)
        return Features(tuple(levels), tokens, self._tower.pool(tokens) if pooled else None)

    def features(
        self,
        images: Tensor,
        taps: Sequence[int] = (),
        hook: Hook | None = None,
        *,
        pooled: bool = False,
        attend: bool = True,
    ) -> Features:
        """Tokens at the tapped blocks, and optionally the image embedding.

        Parameters
        ----------
        images : Tensor (B, 3, S, S)
            Normalised (see `normalise`).
        taps : sequence of int
            Blocks, 1-based, ascending.
        hook : Hook, optional
            May replace the tokens after each block; without it the result is the library's own.
        pooled : bool
            Also run to the end and return `encode_image`'s embedding.
        attend : bool
            See `run`.
        """
        if self.tiling is None:
            return self._of_input(images, taps, hook, pooled=pooled, attend=attend)
        views = self.tiling.cut(images)
        # A graph holds the tower once; else memory holds one view at a time.
        runs = (torch.cat(views),) if torch.compiler.is_exporting() else views
        seen = [self._of_input(run, taps, hook, pooled=pooled, attend=attend) for run in runs]
        levels = (torch.cat(tokens) for tokens in zip(*(one.levels for one in seen), strict=True))
        joined = tuple(self.tiling.join(x.view(len(views), -1, *x.shape[1:])) for x in levels)
        last, whole = seen[0].last, seen[0].pooled
        count = images.shape[0]
        return Features(joined, last[:count], None if whole is None else whole[:count])

    def _of_input(
        self, images: Tensor, taps: Sequence[int], hook: Hook | None, *, pooled: bool, attend: bool
    ) -> Features:
        """`features` of images as large as the tower's input."""
        tokens = self.embed(images)
        if hook is not None:
            tokens = hook(0, tokens)
        return self.run(tokens, 0, taps, hook, pooled=pooled, attend=attend)

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., d) -> (..., D): what the tower's head makes of each as if it were alone."""
        return self._tower.project(tokens)

    # --- sentences ----------------------------------------------------------------------------

    @property
    def _text(self) -> Any:
        """Module with the text tower: the model itself, or its `text` part."""
        if why := self._without_sentences():
            raise WeightsError(
                f"backbone {self.name}: it {why}; choose a model that reads its text feature at "
                "the end token, and has the words of CLIP's tokenizer"
            )
        return getattr(self.model, "text", self.model)

    def _without_sentences(self) -> str:
        """Why it cannot encode sentences, or nothing."""
        text = getattr(self.model, "text", self.model)
        words = getattr(text, "token_embedding", None)
        if words is None:
            return "is a vision tower alone"
        pool = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
        end = getattr(text, "text_eos_id", getattr(text, "eos_id", None))
        at_end = pool == "argmax" or (pool == "eos" and end == END)
        known = self.tokenizer is not None and words.num_embeddings > END
        if known and at_end and getattr(text, "cls_emb", None) is None:
            return ""
        return "has a text tower that is not CLIP's"

    @property
    def cuts_prompts(self) -> bool:
        """Whether sentences may be cut after their end token: whether no token sees later ones."""
        return self._text.attn_mask is not None

    @property
    def text_depth(self) -> int:
        """Number of blocks of the text tower."""
        return len(self._text.transformer.resblocks)

    def prompts(self, sentences: list[str], *, whole: bool = False) -> Prompts:
        """Token embeddings of sentences, cut after the longest one's end token.

        They keep their padding if that is asked for by `whole`, and for a text tower whose end
        token sees it.

        Raises
        ------
        UsageError
            If a sentence fills the text tower's context, so that its end may have been cut off.
        """
        tokens = self.tokenizer(sentences).to(self.device)
        end = tokens.argmax(dim=-1)
        if int(end.max()) == tokens.shape[1] - 1:
            raise UsageError(
                f"a sentence has more than the {tokens.shape[1] - 1} tokens that the text tower of "
                f"{self.name} reads; choose a shorter --organ, or fewer context vectors"
            )
        if not whole and self.cuts_prompts:
            tokens = tokens[:, : int(end.max()) + 1]
        return Prompts(self._text.token_embedding(tokens).to(self.dtype), end)

    def encode_text(
        self, prompts: Prompts, *, causal: bool = True, hook: Hook | None = None
    ) -> Tensor:
        """Sentence embeddings (P, D), not normalised.

        Prompts may be cut after the end token because the causal mask hides what follows it;
        without the mask (`causal=False`, MadCLIP's published code) the caller must pass all tokens.
        `hook(i, tokens)` may replace the tokens (P, L, d_t) after block i of the text tower.
        """
        text = self._text
        length = prompts.embeddings.shape[1]
        x = prompts.embeddings + text.positional_embedding[:length].to(self.dtype)
        mask = text.attn_mask[:length, :length] if causal and text.attn_mask is not None else None
        for number, block in enumerate(text.transformer.resblocks, 1):
            x = block(x, attn_mask=mask)
            x = x if hook is None else hook(number, x)
        x = text.ln_final(x)
        feature: Tensor = x[torch.arange(x.shape[0], device=x.device), prompts.end]
        projection = text.text_projection
        if isinstance(projection, nn.Linear):
            feature = projection(feature)
        elif projection is not None:
            feature = feature @ projection
        return feature

    @torch.no_grad()
    def sentence_feature(self, sentences: list[str]) -> Tensor:
        """Unit vector (D,) of many sentences: the normalised mean of their unit features.

        It is kept: each fold of a fit asks for that of the same sentences.
        """
        told = tuple(sentences)
        if told not in self._meanings:
            features = F.normalize(self.encode_text(self.prompts(sentences)).float(), dim=-1)
            self._meanings[told] = F.normalize(features.mean(dim=0), dim=0)
        return self._meanings[told]
