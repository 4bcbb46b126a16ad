import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from medscan import clip
from medscan.errors import UsageError, WeightsError
from tests import golden, tiny

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
AUTHORS_SENTENCES = [
    "a photo of a Brain.",
    "a bad photo of a damaged Brain.",
    "there is a retinal OCT without flaw in the scene.",
    "a low resolution photo of the Chest X-ray film with defect.",
    "X X X X X X X X histopathological image.",
]
SENTENCES = ["a photo of a brain.", "healthy", "a rather long sentence about a damaged organ"]


@pytest.fixture(scope="module")
def reference(backbone_folder: Path):
    return open_clip.create_model(f"local-dir:{backbone_folder}").eval()


def test_without_a_hook_it_is_open_clip(backbone, reference):
    with torch.inference_mode():
        found = backbone.features(IMAGES, (1, 2, 4), pooled=True)
        wanted = reference.visual.forward_intermediates(
            IMAGES, indices=[0, 1, 3], output_fmt="NLC", output_extra_tokens=True
        )
        assert torch.allclose(found.pooled, reference.encode_image(IMAGES), atol=1e-5)
    pairs = zip(
        found.levels,
        wanted["image_intermediates_prefix"],
        wanted["image_intermediates"],
        strict=True,
    )
    for level, prefix, patches in pairs:
        assert torch.allclose(level, torch.cat([prefix, patches], 1), atol=1e-5)


@pytest.mark.parametrize(("activation", "quick"), [("gelu", False), ("quickgelu", True)])
def test_the_towers_are_those_of_the_authors(activation, quick):
    backbone = golden.backbone(quick_gelu=quick)
    taps = golden.read("taps")
    sentences = backbone.prompts(AUTHORS_SENTENCES, whole=True)
    with torch.inference_mode():
        found = backbone.features(taps["images"][:3], (3, 6, 9, 12), pooled=True)
        texts = {
            "causal": backbone.encode_text(sentences),
            "noncausal": backbone.encode_text(sentences, causal=False),
        }
    for block, tokens in zip((3, 6, 9, 12), found.levels, strict=True):
        assert golden.off(tokens, taps[f"{activation}.tokens.{block}"]) < 1e-4
    assert golden.off(found.pooled, taps[f"{activation}.pooled"]) < 1e-4
    for mask, text in texts.items():
        assert golden.off(text, taps[f"{activation}.text.{mask}"]) < 1e-4


def test_a_timm_trunk_is_open_clip_too(tmp_path):
    config = {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_pool": "token",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": tiny.CONFIG["text_cfg"],
    }
    model = open_clip.CustomTextCLIP(**{k: v for k, v in config.items() if k != "custom_text"})
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    )
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        tmp_path / "open_clip_model.safetensors",
    )
    backbone = clip.load(f"local-dir:{tmp_path}")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = backbone.features(images, (3, 12), pooled=True)
        assert torch.allclose(found.pooled, model.eval().encode_image(images), atol=1e-5)
        wanted = model.visual.forward_intermediates(images, indices=[2, 11], output_fmt="NLC")
    for level, patches in zip(found.levels, wanted["image_intermediates"], strict=True):
        assert torch.allclose(level[:, 1:], patches, atol=1e-5)


def test_sentences_cut_after_the_end_token_are_exact(backbone, reference):
    tokens = open_clip.get_tokenizer("ViT-B-32")(SENTENCES)
    prompts = backbone.prompts(SENTENCES)
    assert prompts.embeddings.shape[1] < 77
    with torch.inference_mode():
        assert torch.allclose(
            backbone.encode_text(prompts), reference.encode_text(tokens), atol=1e-5
        )


def test_the_causal_mask_matters(backbone):
    prompts = backbone.prompts(SENTENCES)
    free = backbone.encode_text(prompts, causal=False)
    assert not torch.allclose(backbone.encode_text(prompts), free, atol=1e-3)


def test_a_hook_replaces_the_tokens_that_go_on(backbone):
    seen = []

    def hook(block: int, tokens: torch.Tensor) -> torch.Tensor:
        seen.append(block)
        return tokens * 0 if block == 2 else tokens

    levels = backbone.features(IMAGES, (2, 3), hook).levels
    assert seen == [0, 1, 2, 3]  # block 4 lies behind the last tap and is not run
    assert levels[0].abs().sum() > 0
    assert torch.equal(levels[1][0], levels[1][1])


def test_going_on_from_a_block_gives_the_same(backbone):
    whole = backbone.features(IMAGES, (1, 4)).levels
    again = backbone.run(whole[0], 1, (4,)).levels
    assert torch.equal(whole[1], again[0])


@pytest.mark.parametrize("size", [48, 96, 128])
def test_any_image_size(backbone_folder, reference, size):
    backbone = clip.load(f"local-dir:{backbone_folder}", size=size)
    other = open_clip.create_model(f"local-dir:{backbone_folder}", force_image_size=size).eval()
    images = torch.rand(1, 3, size, size)
    with torch.inference_mode():
        found = backbone.features(images, (), pooled=True).pooled
        assert torch.allclose(found, other.encode_image(images), atol=1e-5)
    assert backbone.grid == size // 16


def test_taps_scale_with_depth(backbone):
    assert backbone.taps() == (1, 2, 3, 4)


@pytest.mark.parametrize(("layers", "taps"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3))])
def test_a_shallow_tower_has_each_block_once(tmp_path, layers, taps):
    config = tiny.CONFIG | {"vision_cfg": tiny.CONFIG["vision_cfg"] | {"layers": layers}}
    folder = tiny.write_backbone(tmp_path / "shallow", config)
    assert clip.load(f"local-dir:{folder}").taps() == taps


def test_a_sentence_that_is_too_long_is_refused_and_not_cut(backbone):
    with pytest.raises(UsageError, match="shorter --organ"):
        backbone.prompts(["a photo of a " + "very " * 80 + "long organ"])


def test_nothing_of_it_can_be_trained(backbone):
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_bf16_is_close(backbone, backbone_folder):
    half = clip.load(f"local-dir:{backbone_folder}", precision="bf16")
    with torch.inference_mode():
        found = half.features(IMAGES, (4,)).levels[0].float()
        wanted = backbone.features(IMAGES, (4,)).levels[0]
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min() > 0.99


def test_mean_and_deviation_are_the_checkpoints_own(backbone):
    grey = torch.full((1, 3, 2, 2), 0.5)
    assert torch.allclose(backbone.normalise(grey)[0, :, 0, 0], torch.tensor([0.0, 1 / 3, 0.5]))


def test_a_text_tower_of_another_library_is_left_out(backbone_folder, backbone, tmp_path):
    config = json.loads((backbone_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "some/bert"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes(
        (backbone_folder / "open_clip_model.safetensors").read_bytes()
    )
    alone = clip.load(f"local-dir:{tmp_path}")
    found, wanted = (b.features(IMAGES, (4,)).levels[0] for b in (alone, backbone))
    assert torch.equal(found, wanted)
    assert alone.lacks(clip.Need.SENTENCES) == "is a vision tower alone"


def test_a_vision_tower_of_a_hub_is_refused(backbone_folder, tmp_path):
    config = json.loads((backbone_folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "hf-hub:some/tower"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="timm_model_name: Input should be an architecture"):
        clip.load(f"local-dir:{tmp_path}")


def test_a_feature_of_sentences_is_computed_once(backbone_folder, monkeypatch):
    backbone = clip.load(f"local-dir:{backbone_folder}")
    encode, computed = backbone.encode_text, []
    monkeypatch.setattr(backbone, "encode_text", lambda p: computed.append(p) or encode(p))
    first = backbone.sentence_feature(["a lesion", "a scar"])
    assert torch.equal(backbone.sentence_feature(["a lesion", "a scar"]), first)
    assert len(computed) == 1
    assert not torch.equal(backbone.sentence_feature(["a scar"]), first)
