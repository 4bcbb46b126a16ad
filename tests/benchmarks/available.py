"""Write medscan/backbones/available.csv from the installed open_clip and timm.

    python tests/benchmarks/available.py > medscan/backbones/available.csv

Names, sizes and what methods can use come from the libraries, as do the licences of what timm
states one for. Licences of other weights are those of the repositories that published them:
OpenAI's and LAION's CLIP (MIT), RAD-DINO (MIT, for research), DINOv2 (Apache-2.0), DINOv3 (its own,
and Meta gives access on request), SigLIP (Apache-2.0). Where none is known, a card has to be read.
"""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from typing import Any

import open_clip
import timm
import torch

from medscan.backbones import COLUMNS, VISION_METHODS
from medscan.clip.build import VisionOnly, _model
from medscan.clip.store import hub_repository, timm_weights
from medscan.clip.towers import TIMM, tower_of
from medscan.errors import MedscanError
from medscan.methods import METHODS

CARD = "see its card"
OWNERS = {"laion": "mit", "UCSC-VLAA": CARD, "visheratin": CARD}
FAMILIES = (
    "vit_*dinov2*", "vit_*dinov3*", "vit_*.dino", "vit_pe_*", "vit_*siglip*webli", "vit_*tipsv2*",
    "eva02_*", "eva_*", "beit*", "deit3_*", "vit_*.mae", "vit_*augreg*in21k", "vit_*radio*",
    "vit_*.ijepa*", "aimv2_*", "vit_*.datacomp*", "vit_*.laion2b", "vit_*.openai", "vit_*.dfn*",
)  # fmt: skip
FOLDERS = {
    "facebook/dinov2-{}": ("vit_{}_patch14_dinov2", "apache-2.0", "no"),
    "facebook/dinov2-with-registers-{}": ("vit_{}_patch14_reg4_dinov2", "apache-2.0", "no"),
}
ONE_BY_ONE = {
    "microsoft/rad-dino": ("vit_base_patch14_dinov2", 518, "mit, for research", "no"),
    "facebook/dinov3-vits16-pretrain-lvd1689m": (
        "vit_small_patch16_dinov3_qkvb", 224, "dinov3-license", "yes"),
    "facebook/dinov3-vits16plus-pretrain-lvd1689m": (
        "vit_small_plus_patch16_dinov3_qkvb", 224, "dinov3-license", "yes"),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": (
        "vit_base_patch16_dinov3_qkvb", 224, "dinov3-license", "yes"),
    "facebook/dinov3-vitl16-pretrain-lvd1689m": (
        "vit_large_patch16_dinov3_qkvb", 224, "dinov3-license", "yes"),
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": (
        "vit_huge_plus_patch16_dinov3_qkvb", 224, "dinov3-license", "yes"),
    "google/siglip-base-patch16-224": ("vit_base_patch16_siglip_224", 224, "apache-2.0", "no"),
    "google/siglip-so400m-patch14-384": ("vit_so400m_patch14_siglip_378", 378, "apache-2.0", "no"),
    "google/siglip2-base-patch16-224": ("vit_base_patch16_siglip_224", 224, "apache-2.0", "no"),
}  # fmt: skip


def methods_of(tower: Any, *, sentences: bool) -> str:
    if not sentences:
        return VISION_METHODS
    return "all" if tower.takes_tokens else "all but conrad"


def millions(visual: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in visual.parameters()) / 1e6:.1f}"


def of_open_clip() -> Iterator[list[Any]]:
    for architecture, tag in open_clip.list_pretrained():
        name = f"{architecture}/{tag}"
        try:
            repository = hub_repository(name)
            if repository is None:
                continue
            facts = open_clip.get_model_config(architecture)
            with torch.device("meta"):
                model = _model(facts)
                tower = tower_of(model.visual, name)
        except MedscanError:  # another activation, or no vision transformer
            continue
        text = facts["text_cfg"]
        sentences = not (
            text.get("hf_tokenizer_name")
            or text.get("hf_model_name")
            or facts.get("multimodal_cfg")
        )
        side = facts["vision_cfg"]["image_size"]
        licence = licence_of(facts["vision_cfg"].get("timm_model_name"), tag, repository)
        methods = methods_of(tower, sentences=sentences)
        yield [name, architecture, repository, millions(model.visual), side, licence, "no", methods]


def licence_of(trunk: str | None, tag: str, repository: str) -> str:
    """Licence of open_clip's weights, as far as it is known."""
    owner, _, called = repository.partition("/")
    if tag == "openai" or owner in OWNERS or tag.startswith("laion400m"):
        return OWNERS.get(owner, "mit")
    if owner == "timm" and (known := _timm(called)):
        return known
    if trunk and (
        "siglip" in trunk or "_pe_" in trunk or "eva" in trunk or tag.startswith("datacompdr")
    ):
        tags = [n for n in timm.list_pretrained(f"{trunk}*") if timm.get_pretrained_cfg(n)]
        return next(filter(None, (timm.get_pretrained_cfg(n).license for n in tags)), CARD)
    if "DFN" in repository:
        return str(timm.get_pretrained_cfg("vit_large_patch14_clip_224.dfn2b").license)
    return CARD


def _timm(name: str) -> str | None:
    known = timm_weights(name)
    return known.license if known else None


def of_timm() -> Iterator[list[Any]]:
    for name in timm.list_pretrained(list(FAMILIES)):
        known, architecture = timm.get_pretrained_cfg(name), name.partition(".")[0]
        if not known.hf_hub_id or known.input_size[1] != known.input_size[2] or "_ft_" in name:
            continue
        with torch.device("meta"):
            model = timm.create_model(architecture, num_classes=0)
        if not isinstance(model, tuple(TIMM)):
            continue
        gated = "not known" if known.license == "dinov3-license" else "no"
        yield [
            f"timm:{name}", architecture, known.hf_hub_id, millions(model), known.input_size[-1],
            known.license or CARD, gated, VISION_METHODS,
        ]  # fmt: skip


def of_folders() -> Iterator[list[Any]]:
    rows = {
        repository.format(size): (architecture.format(size), 518, licence, gated)
        for repository, (architecture, licence, gated) in FOLDERS.items()
        for size in ("small", "base", "large", "giant")
    }
    for repository, (architecture, side, licence, gated) in (rows | ONE_BY_ONE).items():
        with torch.device("meta"):
            model = VisionOnly(timm.create_model(architecture, num_classes=0))
        tower_of(model.visual, repository)
        yield [
            f"hf-hub:{repository}", architecture, repository, millions(model), side, licence, gated,
            VISION_METHODS,
        ]  # fmt: skip
    for size, side in (("base-patch32", 224), ("base-patch16", 224), ("large-patch14", 224)):
        letter, patch = size[0].upper(), size[-2:]
        architecture = f"ViT-{letter}-{patch}-quickgelu"
        with torch.device("meta"):
            model = _model(open_clip.get_model_config(architecture))
        repository = f"openai/clip-vit-{size}"
        yield [
            f"hf-hub:{repository}", architecture, repository, millions(model.visual), side, "mit",
            "no", "all",
        ]  # fmt: skip


def main() -> None:
    logging.disable(logging.CRITICAL)
    versions = " and ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("open_clip_torch", "timm")
    )
    print(
        f"# {datetime.datetime.now(tz=datetime.UTC).date()}, from {versions} and the models' cards"
    )
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rows in (of_open_clip(), of_timm(), of_folders()):
        writer.writerows(rows)
    assert set(VISION_METHODS.split()) <= METHODS.keys()


if __name__ == "__main__":
    main()
