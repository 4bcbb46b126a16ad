"""Weights of timm become backbones: by their name, and from a folder in its layout."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from medscan import backbones, clip
from medscan.errors import WeightsError
from tests import tiny

NAME = "timm:test_vit.r160_in1k"


@pytest.fixture
def weights(tmp_path):
    """What timm publishes: with a classifier."""
    model = timm.create_model("test_vit").eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", model


def test_weights_are_imported_by_their_name(weights):
    path, model = weights
    bundle = backbones.import_file(path, name=NAME)
    assert bundle.licence == timm.get_pretrained_cfg("test_vit.r160_in1k").license
    backbone = clip.load(NAME)
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pooled = backbone.features(images, (), pooled=True).pooled
        assert torch.allclose(pooled, model.forward_head(model.forward_features(images), True))
    assert backbone.mean == timm.get_pretrained_cfg("test_vit.r160_in1k").mean
    assert backbone.licence == bundle.licence


@pytest.mark.parametrize("name", ["timm:nothing.of_it", "timm:test_vit.nothing", "timm:test_vit"])
def test_names_that_timm_does_not_know_are_refused(weights, home, name):
    with pytest.raises(WeightsError, match=f"timm knows no {name[5:]}; list its names"):
        backbones.import_file(weights[0], name=name)
    with pytest.raises(WeightsError, match="is not on this machine"):
        clip.load(name)
    with pytest.raises(WeightsError, match="neither open_clip nor timm knows it"):
        backbones.pull(name)
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_weights_of_another_architecture_are_refused(weights, home):
    with pytest.raises(WeightsError, match=r"timm:test_vit2.*do not have the shapes|do not have"):
        backbones.import_file(weights[0], name="timm:test_vit2.r160_in1k")
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_a_folder_is_imported_as_it_is(tmp_path):
    folder = tiny.write_tower(
        tmp_path / "mine", "vit_base_patch14_reg4_dinov2", embed_dim=32, depth=2, num_heads=2,
        patch_size=16,
    )  # fmt: skip
    bundle = backbones.import_file(folder)
    assert (bundle.name, bundle.licence) == ("mine", "cc-by-4.0")
    assert clip.load("mine").digest == clip.load(f"local-dir:{folder}").digest
    assert "mine" in [b.name for b in clip.bundles()]
    assert backbones.verify(bundle) == bundle.origin["sha256"]
    state = load_file(folder / "model.safetensors")
    save_file(state | {"more": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="the tensor more has no place in it"):
        backbones.import_file(folder)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"architecture": "hf-hub:someone/tower"}, "architecture: Input should be an architecture"),
        ({"architecture": "nothing"}, "describes no model that medscan can run"),
        ({"model_args": {"depth": 10**6}}, "model_args.depth"),
        ({"model_args": {"pretrained": True}}, "model_args.pretrained"),
        ({"model_args": {"img_size": [64, 32]}}, "its input is not square"),
        ({"num_classes": 10**9}, "num_classes"),
        ({"pretrained_cfg": {"mean": "x"}}, r"pretrained_cfg\.mean"),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused(tmp_path, facts, line):
    folder = tiny.write_tower(tmp_path / "a", "vit_base_patch16_224", embed_dim=32, depth=1,
                              num_heads=2)  # fmt: skip
    config = json.loads((folder / "config.json").read_text()) | facts
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=line) as refused:
        clip.load(f"local-dir:{folder}")
    assert len(str(refused.value).splitlines()) == 1


def test_what_a_hub_gives_is_kept_with_its_name_and_licence(weights, tmp_path, monkeypatch):
    path, _ = weights
    known = timm.get_pretrained_cfg("test_vit.r160_in1k")
    facts = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": known.to_dict()}
    facts["pretrained_cfg"]["input_size"] = list(known.input_size)
    (tmp_path / "config.json").write_text(json.dumps(facts))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(path.parent / name))
    bundle = backbones.pull(NAME)
    assert bundle.origin["source"] == f"hf-hub:{known.hf_hub_id}"
    assert (bundle.name, bundle.licence) == (NAME, known.license)
    assert clip.load(NAME).grid == 10
