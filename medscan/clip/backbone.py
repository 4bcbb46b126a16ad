"""A frozen open_clip model whose tokens can be read after any block and changed between blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medscan.clip.linear import apply_linear, speed_up
from medscan.errors import UsageError, WeightsError

Hook = Callable[[int, Tensor], Tensor]
"""`hook(i, tokens)` takes the tokens (B, T, d) after block i (0: the embeddings) and returns those
for the next block; it may change their number but keeps CLS first."""


@dataclass(frozen=True, slots=True)
class Features:
    """Output of the vision tower for a batch.

    Parameters
    ----------
    levels : tuple of Tensor
        Tokens (B, T, d) after each tapped block, before the hook changes them, CLS first.
    pooled : Tensor or None
        Image embedding (B, D), not normalised; None unless requested.
    """

    levels: tuple[Tensor, ...]
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


class _Tower(Protocol):
    """Steps of a vision transformer between which tokens are read."""

    blocks: Sequence[nn.Module]

    def embed(self, images: Tensor) -> Tensor: ...
    def feed_forward(self, number: int, tokens: Tensor) -> Tensor: ...
    def pool(self, tokens: Tensor) -> Tensor: ...
    def project(self, tokens: Tensor) -> Tensor: ...


class _ClipTower:
    """open_clip's own VisionTransformer."""

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.blocks = visual.transformer.resblocks

    def embed(self, images: Tensor) -> Tensor:
        return self.visual._embeds(images)  # type: ignore[no-any-return]

    def feed_forward(self, number: int, tokens: Tensor) -> Tensor:
        block: Any = self.blocks[number - 1]
        return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor) -> Tensor:
        pooled, _ = self.visual._pool(tokens)
        projection: Tensor | None = self.visual.proj
        return pooled if projection is None else pooled @ projection  # type: ignore[no-any-return]

    def project(self, tokens: Tensor) -> Tensor:
        return apply_linear(self.visual.ln_post(tokens), self.visual.proj.mT)


class _TimmTower:
    """A timm vision transformer behind open_clip's adapter."""

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.blocks = visual.trunk.blocks

    def embed(self, images: Tensor) -> Tensor:
        trunk = self.visual.trunk
        return trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(images)))  # type: ignore[no-any-return]

    def feed_forward(self, number: int, tokens: Tensor) -> Tensor:
        block: Any = self.blocks[number - 1]
        return tokens + block.ls2(block.mlp(block.norm2(tokens)))  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor) -> Tensor:
        trunk = self.visual.trunk
        return self.visual.head(trunk.forward_head(trunk.norm(tokens)))  # type: ignore[no-any-return]

    def project(self, tokens: Tensor) -> Tensor:
        return self.visual.head(self.visual.trunk.norm(tokens))  # type: ignore[no-any-return]


def tower_of(visual: Any, name: str) -> _Tower:
    """The steps of a vision tower of open_clip.

    Raises
    ------
    WeightsError
        If it is not a vision transformer.
    """
    if hasattr(visual, "_embeds") and hasattr(visual, "transformer"):
        return _ClipTower(visual)
    trunk = getattr(visual, "trunk", None)
    if trunk is not None and hasattr(trunk, "blocks") and hasattr(trunk, "_pos_embed"):
        return _TimmTower(visual)
    raise WeightsError(
        f"backbone {name}: its vision tower is not a vision transformer; choose a ViT model"
    )


class Backbone:
    """A frozen CLIP: tokens of an image at chosen blocks, features of sentences.

    Parameters
    ----------
    model : open_clip CLIP or CustomTextCLIP
        Put into eval mode and frozen here.
    tokenizer : callable
        open_clip's tokenizer of the model: list of str -> int64 (P, context).
    name, digest : str
        Name that the user gave, and SHA-256 that detectors record.
    size : int
        Side S of its square input in pixels.
    mean, std : tuple of 3 floats
        Normalisation in the checkpoint's configuration.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        *,
        name: str,
        digest: str,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        speed_up(self.model)
        self.tokenizer: Any = tokenizer
        self.name, self.digest, self.size = name, digest, size
        self.mean, self.std = tuple(mean), tuple(std)
        self.between_blocks: Callable[[], object] = lambda: None
        """Called before each block of the vision tower; an error that it raises ends the run."""
        self.logit_scale = float(model.logit_scale.exp())
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
        self.grid: int = round((tokens.shape[1] - 1) ** 0.5)
        if self.grid**2 + 1 != tokens.shape[1]:
            raise WeightsError(
                f"backbone {name}: its tokens are not one CLS and a square grid; choose another "
                "model"
            )

    def _blank(self) -> Tensor:
        return torch.zeros(1, 3, self.size, self.size, device=self.device, dtype=self.dtype)

    @property
    def depth(self) -> int:
        """Number of blocks of the vision tower."""
        return len(self._tower.blocks)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels; pixels beyond the last whole patch are not seen."""
        return self.size // self.grid

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

    # --- images -------------------------------------------------------------------------------

    def embed(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) -> tokens (B, T, d) before the first block."""
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
        """Continue from the tokens after block `first` (0: the embeddings).

        Blocks beyond the last tap run only for `pooled`. Without `attend` each block skips its
        attention, as MedVMAD's published code does.
        """
        last = self.depth if pooled else max(taps, default=first)
        levels: list[Tensor] = []
        for number in range(first + 1, last + 1):
            self.between_blocks()
            block = self._tower.blocks[number - 1]
            tokens = block(tokens) if attend else self._tower.feed_forward(number, tokens)
            if number in taps:
                levels.append(tokens)
            if hook is not None:
                tokens = hook(number, tokens)
        return Features(tuple(levels), self._tower.pool(tokens) if pooled else None)

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
            May replace the tokens after each block; without it the result is open_clip's own.
        pooled : bool
            Also run to the end and return `encode_image`'s embedding.
        attend : bool
            See `run`.
        """
        tokens = self.embed(images)
        if hook is not None:
            tokens = hook(0, tokens)
        return self.run(tokens, 0, taps, hook, pooled=pooled, attend=attend)

    def project(self, tokens: Tensor) -> Tensor:
        """Project tokens (..., d) by the tower's final norm and projection -> (..., D)."""
        return self._tower.project(tokens)

    # --- sentences ----------------------------------------------------------------------------

    @property
    def _text(self) -> Any:
        """Module with the text tower: the model itself, or its `text` part."""
        text = getattr(self.model, "text", self.model)
        pool = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
        words = getattr(getattr(text, "token_embedding", None), "num_embeddings", 0)
        if words < self.tokenizer.vocab_size or pool not in ("argmax", "eos"):
            raise WeightsError(
                f"backbone {self.name}: its text tower is not CLIP's; choose a model that reads "
                "its text feature at the end token, and has the words of CLIP's tokenizer"
            )
        return text

    @property
    def text_depth(self) -> int:
        """Number of blocks of the text tower."""
        return len(self._text.transformer.resblocks)

    def prompts(self, sentences: list[str], *, whole: bool = False) -> Prompts:
        """Token embeddings of sentences, cut after the longest one's end token unless `whole`.

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
        if not whole:
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
        """Unit vector (D,) of many sentences: the normalised mean of their unit features."""
        features = F.normalize(self.encode_text(self.prompts(sentences)).float(), dim=-1)
        return F.normalize(features.mean(dim=0), dim=0)
