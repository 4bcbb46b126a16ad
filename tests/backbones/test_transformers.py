"""Folders of Hugging Face transformers become backbones that compute what it computes.

golden/ holds small ones that it wrote, and its tokens; see make_golden.py.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medscan import backbones, clip
from medscan.errors import WeightsError
from tests.backbones.make_golden import GOLDEN, image

NAMES = sorted(path.name for path in GOLDEN.iterdir())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("medscan.backbones.check._of_transformers", lambda *_: None)
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path):
    """A copy to break."""
    return shutil.copytree(GOLDEN / "dinov2", tmp_path / "broken")


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_transformers(name):
    bundle = backbones.import_file(GOLDEN / name, name=f"mine/{name}")
    backbone = clip.load(f"mine/{name}")
    with torch.inference_mode():
        levels = backbone.features(image(), (1, 2)).levels
    wanted = load_file(GOLDEN / name / "tokens.safetensors")
    for tap, tokens in zip((1, 2), levels, strict=True):
        assert torch.allclose(tokens[:, 1:], wanted[str(tap)], atol=1e-5)
    assert (backbone.patch, backbone.grid, backbone.width) == (4, 4, 8)
    assert "to 0e+00" in bundle.origin["compared"] or "e-0" in bundle.origin["compared"]


def test_of_a_clip_both_towers_are_taken():
    backbones.import_file(GOLDEN / "clip", name="mine/clip")
    backbone = clip.load("mine/clip")
    theirs = load_file(GOLDEN / "clip" / "model.safetensors")
    assert torch.equal(backbone.model.visual.proj, theirs["visual_projection.weight"].T)
    assert torch.equal(backbone.model.text_projection, theirs["text_projection.weight"].T)
    key = theirs["text_model.encoder.layers.0.self_attn.k_proj.weight"]
    packed = backbone.model.transformer.resblocks[0].attn.in_proj_weight
    assert torch.equal(packed[8:16], key)
    assert backbone.logit_scale == pytest.approx(float(theirs["logit_scale"].exp()))


def test_of_any_other_model_the_vision_tower_is_taken():
    backbones.import_file(GOLDEN / "siglip", name="mine/siglip")
    assert clip.load("mine/siglip").lacks(clip.Need.SENTENCES) == "is a vision tower alone"


def test_how_images_are_normalised_and_who_may_use_it_come_along(folder):
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5], "size": 3})
    )
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: mit\n---\n# Card\n")
    bundle = backbones.import_file(folder)
    assert bundle.licence == "mit"
    assert clip.load("broken").mean == (0.1, 0.2, 0.3)
    assert clip.load("broken").licence == "mit"


def change_config(folder: Path, **facts) -> None:
    config = json.loads((folder / "config.json").read_text()) | facts
    (folder / "config.json").write_text(json.dumps(config))


def change_tensors(folder: Path, **tensors) -> None:
    state = load_file(folder / "model.safetensors") | tensors
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"model_type": "bert"}, "holds a model of type bert"),
        ({"layer_norm_eps": 1e-3}, "layer_norm_eps is 0.001, not 1e-06"),
        ({"num_attention_heads": "two"}, "num_attention_heads"),
        ({"num_attention_heads": 3}, "describes no model that medscan can run"),
        ({"hidden_act": "tanh"}, "are not those of a dinov2"),
        ({"auto_map": {"AutoModel": "x.py"}, "model_type": "mine"}, "holds a model of type mine"),
    ],
)
def test_a_folder_of_another_kind_is_refused_in_a_line(folder, home, facts, line):
    change_config(folder, **facts)
    with pytest.raises(WeightsError, match=line) as refused:
        backbones.import_file(folder)
    assert len(str(refused.value).splitlines()) == 1
    assert [p for p in home.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        ({"encoder.layer.0.extra.weight": torch.zeros(1)}, "extra.weight has no place in a tower"),
        ({"layernorm.weight": None}, "the tensor norm.weight is missing"),
        ({"layernorm.weight": torch.zeros(9)}, r"norm.weight has shape \[9\], not \[8\]"),
        ({"layernorm.bias": torch.full((8,), torch.nan)}, "norm.bias is not finite"),
        ({"embeddings.patch_embeddings.projection.weight": None}, "are not those of a dinov2"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_in_a_line(folder, home, tensors, line):
    change_tensors(folder, **tensors)
    with pytest.raises(WeightsError, match=line) as refused:
        backbones.import_file(folder)
    assert len(str(refused.value).splitlines()) == 1
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_pickled_weights_of_a_folder_are_never_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="pickled weights are never read"):
        backbones.import_file(folder)


def test_such_a_folder_is_imported_first(folder):
    with pytest.raises(WeightsError, match="bring it in with `medscan weights import"):
        clip.load(f"local-dir:{folder}")


def test_tokens_that_differ_from_the_source_librarys_are_refused(folder, home, monkeypatch):
    def others(_folder, _image, backbone):
        return [torch.ones(1, 16, 8)] * len(backbone.taps()), "timm"

    monkeypatch.setattr("medscan.backbones.check._of_transformers", others)
    with pytest.raises(WeightsError, match="its tokens differ from those of timm by"):
        backbones.import_file(folder)
    assert [p for p in home.rglob("*") if p.is_file()] == []
