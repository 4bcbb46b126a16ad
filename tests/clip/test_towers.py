"""Towers of every make through one interface: the library's own tokens, arranged alike."""

import copy
import json
import warnings

import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from medscan import clip
from medscan.errors import UsageError, WeightsError
from medscan.methods import METHODS, build, settings_of
from tests import tiny

SMALL = {"embed_dim": 32, "depth": 4, "num_heads": 2}
TOWERS = {
    "plain": ("vit_base_patch16_224", SMALL),
    "registers": ("vit_base_patch14_reg4_dinov2", SMALL | {"patch_size": 16, "reg_tokens": 3}),
    "no class token": ("vit_base_patch16_siglip_224", SMALL),
    "registers alone": ("test_vit2", SMALL),
    "distilled": ("deit_base_distilled_patch16_224", SMALL),
    "rotary": ("vit_base_patch16_dinov3_qkvb", SMALL | {"num_reg_tokens": 2}),
    "rotary, pooled by attention": ("vit_pe_core_tiny_patch16_384", SMALL | {"num_heads": 4}),
    "rotary and absolute": ("eva02_tiny_patch14_224", SMALL | {"patch_size": 16}),
    "biases": ("beitv2_base_patch16_224", SMALL),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    where = tmp_path_factory.mktemp("towers")
    return {
        kind: tiny.write_tower(where / kind.replace(" ", "-"), architecture, **args)
        for kind, (architecture, args) in TOWERS.items()
    }


def images(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def library(folder, size: int = 64):
    """The same tower as timm itself loads it."""
    config = json.loads((folder / "config.json").read_text())
    model = timm.create_model(
        config["architecture"], num_classes=0, img_size=64, **config["model_args"]
    )
    model.load_state_dict(load_file(folder / "model.safetensors"))
    if size != 64:
        with warnings.catch_warnings(action="ignore"):
            model.set_input_size((size, size))
    return model.eval()


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("kind", TOWERS)
def test_tokens_are_the_librarys_own(folders, kind, size):
    backbone = clip.load(f"local-dir:{folders[kind]}", size=size)
    model = library(folders[kind], size)
    with torch.inference_mode():
        found = backbone.features(images(side=size), (1, 2, 4), pooled=True)
        wanted = model.forward_intermediates(
            images(side=size), indices=[0, 1, 3], output_fmt="NLC", return_prefix_tokens=True,
            intermediates_only=True,
        )  # fmt: skip
        assert torch.allclose(found.pooled, model(images(side=size)), atol=1e-5)
    assert (backbone.grid, backbone.patch, backbone.depth) == (size // 16, 16, 4)
    for level, pair in zip(found.levels, wanted, strict=True):
        patches, prefix = pair if isinstance(pair, tuple) else (pair, None)
        assert torch.allclose(level[:, 1:], patches, atol=1e-5)
        first = patches.mean(1) if model.cls_token is None else prefix[:, 0]
        assert torch.allclose(level[:, 0], first, atol=1e-5)


@pytest.mark.parametrize("kind", TOWERS)
def test_a_tower_alone_serves_the_methods_without_sentences(folders, kind):
    backbone = clip.load(f"local-dir:{folders[kind]}")
    for name in ("patchcore", "discriminant"):
        assert build(name, backbone, "Brain", settings_of(name), masked=True).name == name
    for name in sorted(METHODS.keys() - {"patchcore", "discriminant"}):
        line = r"needs sentences, and backbone .* is a vision tower alone; use discriminant, patch"
        with pytest.raises(UsageError, match=f"method {name} {line}"):
            build(name, backbone, "Brain", settings_of(name), masked=True)


@pytest.mark.parametrize("kind", ["registers", "no class token", "rotary", "biases"])
@pytest.mark.parametrize("name", ["patchcore", "discriminant"])
def test_a_score_does_not_depend_on_the_batch(folders, kind, name):
    backbone = clip.load(f"local-dir:{folders[kind]}")
    method = build(name, backbone, "Brain", settings_of(name, bank_rows=8), masked=False).eval()
    if name == "patchcore":
        method.remember([method.prepare(images(4))], torch.arange(4))
    else:
        method.experts.memory.fill([torch.rand(2, 2, 16, 32)], 0)
        method.factors += 1
    together = method.predict(images(5))
    for i in range(5):
        alone = method.predict(images(5)[i : i + 1])
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))


def clip_folder(folder, name: str, pool: str, text: dict | None = None):
    """A CLIP of open_clip's whose vision tower is one of timm's."""
    config = {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": name, "timm_pool": pool, "image_size": 160},
        "text_cfg": copy.deepcopy(tiny.CONFIG["text_cfg"]) | (text or {}),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {key: value for key, value in config.items() if key != "custom_text"}
        model = open_clip.CustomTextCLIP(**given).eval()
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    folder.mkdir(exist_ok=True)
    facts = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(facts))
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder, model


@pytest.mark.parametrize(("name", "pool"), [("test_vit3", "map"), ("test_vit2", "avg")])
def test_methods_that_write_into_a_tower_know_its_tokens(tmp_path, name, pool):
    """Registers and no class token: patches are still the patches, on their grid."""
    folder, model = clip_folder(tmp_path / "clip", name, pool)
    backbone = clip.load(f"local-dir:{folder}")
    with torch.inference_mode():
        pooled = backbone.features(images(side=160), (), pooled=True).pooled
        assert torch.allclose(pooled, model.encode_image(images(side=160)), atol=1e-5)
    for method_name in ("mvfa", "madclip", "clip", "cocoop"):
        settings = settings_of(method_name)
        method = build(method_name, backbone, "Brain", settings, masked=False).eval()
        if method_name == "mvfa":
            method.remember([method.prepare(images(2, 160))], torch.arange(2))
        scores, maps = method.predict(images(2, 160))
        assert maps.shape == (2, 10, 10)
        assert scores.isfinite().all()
    with pytest.raises(UsageError, match="conrad needs tokens of its own between the blocks"):
        build("conrad", backbone, "Brain", settings_of("conrad"), masked=False)


def test_what_a_head_makes_of_one_token_is_what_it_makes_of_an_image_of_it(tmp_path):
    folder, model = clip_folder(tmp_path / "clip", "test_vit3", "map")
    backbone = clip.load(f"local-dir:{folder}")
    tokens = torch.rand(2, 5, backbone.width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = backbone.project(tokens)
        trunk, head = model.visual.trunk, model.visual.head
        alone = head(trunk.forward_head(trunk.norm(tokens[1, 3][None, None])))
    assert torch.allclose(found[1, 3], alone[0], atol=1e-5)


def test_a_text_tower_that_sees_its_padding_gets_it(tmp_path):
    folder, model = clip_folder(tmp_path / "clip", "test_vit", "token", {"no_causal_mask": True})
    backbone = clip.load(f"local-dir:{folder}")
    sentences = ["a photo of a brain.", "healthy"]
    with torch.inference_mode():
        wanted = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(sentences))
        assert torch.allclose(backbone.encode_text(backbone.prompts(sentences)), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "text", [{"embed_cls": True}, {"pool_type": "last"}, {"hf_tokenizer_name": "bert-base"}]
)
def test_sentences_of_another_kind_are_refused(tmp_path, text):
    folder, _ = clip_folder(tmp_path / "clip", "test_vit", "token", text)
    backbone = clip.load(f"local-dir:{folder}")
    with pytest.raises(UsageError, match="has a text tower that is not CLIP's; use discriminant"):
        build("madclip", backbone, "Brain", settings_of("madclip"), masked=False)
    assert build("patchcore", backbone, "Brain", settings_of("patchcore"), masked=False)


def test_a_tower_without_one_grid_is_refused_in_a_line(tmp_path):
    folder = tmp_path / "swin"
    folder.mkdir()
    model = timm.create_model("test_convnext", num_classes=0)
    config = {"architecture": "test_convnext", "pretrained_cfg": {}}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"\(ConvNeXt\) is not a vision transformer"):
        clip.load(f"local-dir:{folder}")
