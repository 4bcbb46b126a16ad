"""Vision transformers of open_clip and timm as one: tokens that are read between their blocks.

Every tower has prefix tokens, as many as its makers gave it (a class token, registers, both or
none), and then one token for each patch, row by row. Positions that are added once are part of the
embedding; rotary and relative ones are handed to every block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import Block, VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from medscan.clip.linear import apply_linear
from medscan.errors import WeightsError


class Tower(Protocol):
    """Steps of a vision transformer between which tokens are read.

    Parameters
    ----------
    blocks : sequence of Module
    patch : int
        Side of a patch in pixels.
    prefix : int
        Number of tokens before those of the patches.
    has_class : bool
        Whether the first of them is a class token.
    takes_tokens : bool
        Whether tokens may be added after the class token between blocks.
    skips_attention : bool
        Whether `feed_forward` can stand for a block.
    """

    blocks: Sequence[nn.Module]
    patch: int
    prefix: int
    has_class: bool
    takes_tokens: bool
    skips_attention: bool

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> tokens (B, T, d) before the first block."""

    def block(self, number: int, tokens: Tensor) -> Tensor:
        """Tokens after block `number`, from 1."""

    def feed_forward(self, number: int, tokens: Tensor) -> Tensor:
        """The same without its attention."""

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens after the last block -> what the tower says of the image, (B, D)."""

    def project(self, tokens: Tensor) -> Tensor:
        """What the tower's head makes of each token alone: (..., d) -> (..., D)."""


class _ClipTower:
    """open_clip's own VisionTransformer."""

    prefix, has_class, takes_tokens, skips_attention = 1, True, True, True

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.blocks = visual.transformer.resblocks
        self.patch = int(visual.patch_size[0])

    def embed(self, images: Tensor) -> Tensor:
        return self.visual._embeds(images)  # type: ignore[no-any-return]

    def block(self, number: int, tokens: Tensor) -> Tensor:
        return self.blocks[number - 1](tokens)  # type: ignore[no-any-return]

    def feed_forward(self, number: int, tokens: Tensor) -> Tensor:
        block: Any = self.blocks[number - 1]
        return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor) -> Tensor:
        pooled, _ = self.visual._pool(tokens)
        projection: Tensor | None = self.visual.proj
        return pooled if projection is None else pooled @ projection  # type: ignore[no-any-return]

    def project(self, tokens: Tensor) -> Tensor:
        pool = self.visual.attn_pool
        if pool is not None:
            # A query that attends to one token takes all of it: the first stands for all queries.
            alone = pool.ln_k(tokens.reshape(1, -1, tokens.shape[-1])).transpose(0, 1)
            query = pool.ln_q(pool.query[:1]).expand(alone.shape[0], 1, -1)
            taken = pool.attn(query, alone, alone, need_weights=False)[0]
            tokens = taken.view(*tokens.shape[:-1], -1)
        normed: Tensor = self.visual.ln_post(tokens)
        projection = self.visual.proj
        return normed if projection is None else apply_linear(normed, projection.mT)


class _TimmTower:
    """timm's VisionTransformer: ViT, DeiT, DINO, DINOv2, SigLIP, TIPSv2 and their like."""

    def __init__(self, visual: Any) -> None:
        self.visual, self.trunk = visual, visual.trunk
        self.blocks = self.trunk.blocks
        self.patch = int(self.trunk.patch_embed.feat_ratio())
        self.prefix = int(self.trunk.num_prefix_tokens)
        self.has_class = getattr(self.trunk, "cls_token", None) is not None
        self.takes_tokens = self.prefix == 1 and self.has_class
        self.skips_attention = all(type(block) is Block for block in self.blocks)

    def embed(self, images: Tensor) -> Tensor:
        trunk = self.trunk
        return trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(images)))  # type: ignore[no-any-return]

    def block(self, number: int, tokens: Tensor) -> Tensor:
        return self.blocks[number - 1](tokens)  # type: ignore[no-any-return]

    def feed_forward(self, number: int, tokens: Tensor) -> Tensor:
        block: Any = self.blocks[number - 1]
        return tokens + block.ls2(block.mlp(block.norm2(tokens)))  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor) -> Tensor:
        return self.visual.head(self.trunk.forward_head(self.trunk.norm(tokens)))  # type: ignore[no-any-return]

    def project(self, tokens: Tensor) -> Tensor:
        trunk = self.trunk
        alone = trunk.norm(tokens)
        if getattr(trunk, "attn_pool", None) is not None:
            pooled = trunk.attn_pool(alone.reshape(-1, 1, alone.shape[-1]))
            alone = pooled.view(*tokens.shape[:-1], -1)
        return self.visual.head(trunk.head(trunk.fc_norm(alone)))  # type: ignore[no-any-return]


class _EvaTower(_TimmTower):
    """timm's Eva, with rotary positions in every block: EVA-02, PE, DINOv3."""

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        self.takes_tokens = self.skips_attention = False
        weight = self.trunk.patch_embed.proj.weight
        blank = torch.zeros(
            1, 3, *self.trunk.patch_embed.img_size, device=weight.device, dtype=weight.dtype
        )
        with torch.no_grad():
            self._rotary: Tensor | None = self._embedded(blank)[1]

    def _embedded(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.trunk._pos_embed(self.trunk.patch_embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        return self.trunk.norm_pre(self._embedded(images)[0])  # type: ignore[no-any-return]

    def block(self, number: int, tokens: Tensor) -> Tensor:
        rotary = self._rotary
        if rotary is not None and getattr(self.trunk, "rope_mixed", False):
            rotary = rotary[number - 1]
        return self.blocks[number - 1](tokens, rope=rotary)  # type: ignore[no-any-return]


class _BeitTower(_TimmTower):
    """timm's Beit, whose positions are biases of the attention: BEiT, BEiT v2."""

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        self.takes_tokens = self.skips_attention = False

    def embed(self, images: Tensor) -> Tensor:
        trunk = self.trunk
        patches = trunk.patch_embed(images)
        tokens = torch.cat([trunk.cls_token.expand(patches.shape[0], -1, -1), patches], 1)
        return tokens if trunk.pos_embed is None else tokens + trunk.pos_embed

    def block(self, number: int, tokens: Tensor) -> Tensor:
        biases = self.trunk.rel_pos_bias
        shared = None if biases is None else biases()
        return self.blocks[number - 1](tokens, shared_rel_pos_bias=shared)  # type: ignore[no-any-return]


class _RelativeTower(_TimmTower):
    """timm's VisionTransformerRelPos."""

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        self.takes_tokens = self.skips_attention = False

    def embed(self, images: Tensor) -> Tensor:
        patches: Tensor = self.trunk.patch_embed(images)
        first = self.trunk.cls_token
        return (
            patches
            if first is None
            else torch.cat([first.expand(patches.shape[0], -1, -1), patches], 1)
        )

    def block(self, number: int, tokens: Tensor) -> Tensor:
        shared = self.trunk.shared_rel_pos
        bias = None if shared is None else shared.get_bias()
        return self.blocks[number - 1](tokens, shared_rel_pos=bias)  # type: ignore[no-any-return]


TIMM: dict[type[nn.Module], type[_TimmTower]] = {
    VisionTransformer: _TimmTower,
    Eva: _EvaTower,
    Beit: _BeitTower,
    VisionTransformerRelPos: _RelativeTower,
}
"""Transformers of timm whose patches keep their grid from the first block to the last."""


def tower_of(visual: Any, name: str) -> Tower:
    """The steps of a vision tower of open_clip, or of timm as its `trunk`.

    Raises
    ------
    WeightsError
        If it is not a vision transformer.
    """
    if hasattr(visual, "_embeds") and hasattr(visual, "transformer"):
        return _ClipTower(visual)
    trunk = getattr(visual, "trunk", None)
    for kind, tower in TIMM.items():
        if isinstance(trunk, kind):
            return tower(visual)
    found = type(visual if trunk is None else trunk).__name__
    raise WeightsError(
        f"backbone {name}: its vision tower ({found}) is not a vision transformer with one grid of "
        "patches at all depths; choose a ViT model"
    )
