import json
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from open_clip.model import CLIP
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medscan import clip
from medscan.backbones import fetch
from medscan.clip import store
from medscan.errors import WeightsError
from tests import tiny


@pytest.fixture
def copy(backbone_folder, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in backbone_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def torchscript(tmp_path):
    """A TorchScript archive with the tensors of a small ViT CLIP, half precision as published."""
    config = json.loads(json.dumps(tiny.CONFIG))
    config["quick_gelu"] = True
    config["vision_cfg"] |= {"width": 64, "head_width": 64}
    config["text_cfg"] |= {"width": 64, "heads": 1}
    model = CLIP(**config).half()
    state = model.state_dict()

    class Archive(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("input_resolution", torch.tensor(64))
            for name, tensor in state.items():
                _nest(self, name.split("."), tensor)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    path = tmp_path / "ViT-tiny.pt"
    with warnings.catch_warnings(action="ignore"):  # torch.jit is deprecated, OpenAI's files stay
        torch.jit.trace(Archive(), torch.zeros(1)).save(str(path))
    return path, model


def _nest(module: torch.nn.Module, parts: list[str], tensor: torch.Tensor) -> None:
    for part in parts[:-1]:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    module.register_buffer(parts[-1], tensor)


def test_openai_archives_are_converted_once_their_hash_matches(torchscript, monkeypatch, home):
    path, model = torchscript
    with pytest.raises(WeightsError, match="not one that OpenAI published"):
        fetch.import_file(path)
    assert not list(home.rglob("*"))
    monkeypatch.setitem(fetch.OPENAI, store.sha256(path), "ViT-tiny-quickgelu/openai")
    bundle = fetch.import_file(path)
    assert bundle.name == "ViT-tiny-quickgelu/openai"
    assert bundle.config["model_cfg"]["quick_gelu"] is True
    backbone = clip.load("ViT-tiny-quickgelu/openai")
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        found = backbone.features(images, (), pooled=True).pooled
        assert torch.allclose(found, model.float().eval().encode_image(images), atol=1e-5)
    assert fetch.verify(bundle) == bundle.origin["sha256"]


def test_a_foreign_archive_needs_a_voucher(torchscript):
    path, _ = torchscript
    with pytest.raises(WeightsError, match="has SHA-256"):
        fetch.import_file(path, digest="0" * 64)
    assert fetch.import_file(path, digest=store.sha256(path)).name == "ViT-tiny-quickgelu/openai"


def test_the_wrong_activation_is_refused_by_name(copy):
    weights = copy / "open_clip_model.safetensors"
    with pytest.raises(WeightsError, match="call it ViT-L-14-336-quickgelu/openai"):
        fetch.import_file(weights, name="ViT-L-14-336/openai")
    with pytest.raises(WeightsError, match="call it ViT-B-16-quickgelu/openai"):
        clip.find("ViT-B-16/openai")


def test_the_wrong_activation_is_refused_in_a_bundle(copy):
    (copy / "medscan.json").write_text(json.dumps({"quick_gelu": True}))
    with pytest.raises(WeightsError, match="trained with True"):
        clip.load(f"local-dir:{copy}")


def test_the_wrong_width_is_refused(copy):
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 48
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="do not have the shapes"):
        clip.load(f"local-dir:{copy}")


CONFIG, ORIGIN = "open_clip_config.json", "medscan.json"
WRONG = {
    (CONFIG, "model_cfg"): (None, [], "ViT"),
    (CONFIG, "model_cfg.vision_cfg"): (None, [], 3),
    (CONFIG, "model_cfg.text_cfg"): (None, [], 3),
    (CONFIG, "model_cfg.text_cfg.context_length"): ("77", None, -1, 7.5),
    (CONFIG, "model_cfg.quick_gelu"): ("yes", 1),
    (CONFIG, "preprocess_cfg"): ([], "x"),
    (CONFIG, "preprocess_cfg.mean"): (0.5, None, "abc"),
    (CONFIG, "preprocess_cfg.std.1"): ("0.2", None, float("nan"), float("inf")),
    (ORIGIN, "quick_gelu"): ("false", 0),
    (ORIGIN, "sha256"): (3, []),
    (ORIGIN, "licence"): (["MIT"],),
}


@pytest.mark.parametrize(
    ("file", "field", "value"), [(*key, value) for key, values in WRONG.items() for value in values]
)
def test_a_wrong_field_of_a_bundle_is_refused_by_name(copy, file, field, value):
    facts = json.loads((copy / file).read_text()) if (copy / file).exists() else {}
    *owners, leaf = (int(part) if part.isdigit() else part for part in field.split("."))
    owner = facts
    for part in owners:
        owner = owner[part]
    owner[leaf] = value
    (copy / file).write_text(json.dumps(facts))
    with pytest.raises(WeightsError) as refused:
        clip.load(f"local-dir:{copy}")
    line = str(refused.value)
    assert f"{copy / file} is damaged: {field}: " in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_a_configuration_that_is_no_json_is_refused(copy, text):
    (copy / CONFIG).write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError, match="is not a JSON file"):
        clip.load(f"local-dir:{copy}")


def test_what_a_configuration_lacks_is_named(copy):
    (copy / CONFIG).write_text(json.dumps({"model_cfg": {"embed_dim": 24, "vision_cfg": {}}}))
    with pytest.raises(WeightsError, match=r"lacks model_cfg\.text_cfg$"):
        clip.load(f"local-dir:{copy}")


def test_an_import_that_does_not_fit_leaves_nothing(copy, home):
    with pytest.raises(WeightsError, match="do not have the shapes"):
        fetch.import_file(copy / "open_clip_model.safetensors", name="ViT-B-32-quickgelu/openai")
    assert [p for p in home.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("cut", [1, 1000])
def test_truncated_weights_are_refused(copy, cut):
    weights = copy / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-cut])
    with pytest.raises(WeightsError, match="is damaged"):
        clip.load(f"local-dir:{copy}")


def test_pickles_are_never_opened(copy, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    weights = copy / "open_clip_model.safetensors"
    weights.write_bytes(pickle.dumps({"a": Bomb()}))
    with pytest.raises(WeightsError, match="pickled"):
        clip.load(f"local-dir:{copy}")
    with pytest.raises(WeightsError, match="pickle"):
        fetch.import_file(weights, name="ViT-B-32/x")
    torch.save({"a": torch.zeros(1)}, weights)
    with pytest.raises(WeightsError, match="pickled"):
        clip.load(f"local-dir:{copy}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("length", [0x4B50, 0x8080])
def test_a_header_as_long_as_a_pickle_starts_is_read(copy, length):
    """Its length comes first in the file: 50 4B is how a zip archive starts, 80 a pickle."""
    weights = copy / "open_clip_model.safetensors"
    with safe_open(weights, "pt") as file:
        state, bare = load_file(weights), file.metadata() or {}
    save_file(state, weights, bare | {"filled": ""})
    missing = length - int.from_bytes(weights.read_bytes()[:8], "little")
    save_file(state, weights, bare | {"filled": "x" * missing})
    assert weights.read_bytes()[:2] == length.to_bytes(2, "little")
    assert clip.load(f"local-dir:{copy}").width == 32
    with pytest.raises(WeightsError, match="do not have the shapes"):  # read, and then compared
        fetch.import_file(weights, name="ViT-B-32-quickgelu/x")


def test_a_pickled_file_alone_is_refused(copy):
    (copy / "open_clip_model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="never read"):
        clip.load(f"local-dir:{copy}")


def test_missing_backbones_say_what_to_do():
    with pytest.raises(WeightsError, match="medscan weights pull ViT-B-32-quickgelu/openai"):
        clip.load("ViT-B-32-quickgelu/openai")
    with pytest.raises(WeightsError, match="medscan weights import"):
        clip.load("no-such-model")
    with pytest.raises(WeightsError, match="no folder"):
        clip.load("local-dir:/no/such/folder")


def test_a_folder_is_imported_found_listed_and_verified(copy, home):
    bundle = fetch.import_file(copy, name="mine/one")
    assert clip.load("mine/one").digest == clip.load(f"local-dir:{copy}").digest
    assert "mine/one" in [b.name for b in clip.bundles()]
    state = load_file(bundle.weights)
    state["logit_scale"] += 1
    save_file(state, bundle.weights)
    with pytest.raises(WeightsError, match="recorded was"):
        fetch.verify(bundle)


def test_medscan_weights_adds_a_folder(copy, tmp_path, monkeypatch):
    (tmp_path / "added").mkdir()
    copy.rename(tmp_path / "added" / "ours")
    monkeypatch.setenv("MEDSCAN_WEIGHTS", str(tmp_path / "added"))
    assert clip.find("ours").folder == tmp_path / "added" / "ours"


def test_the_digest_covers_what_decides_the_features(copy):
    before = clip.find(f"local-dir:{copy}").digest()
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0, 0, 0]
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    assert clip.find(f"local-dir:{copy}").digest() != before


def test_pull_needs_a_known_name():
    with pytest.raises(WeightsError, match="neither open_clip nor timm"):
        fetch.pull("no-such-model/tag")
    with pytest.raises(WeightsError, match="call it"):
        fetch.pull("ViT-L-14-336/openai")


def test_pull_without_a_network_is_one_clear_line(monkeypatch):
    def unreachable(*_args):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(WeightsError, match="weights import FILE"):
        fetch.pull("ViT-B-32-quickgelu/openai")


def test_what_a_hub_gives_is_kept_with_its_hash(copy, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(copy / name))
    bundle = fetch.pull("ViT-B-32-quickgelu/openai")
    assert bundle.origin["source"] == "hf-hub:timm/vit_base_patch32_clip_224.openai"
    assert clip.load("ViT-B-32-quickgelu/openai").width == 32


def test_imports_never_leave_the_folder_of_weights(copy, home, monkeypatch):
    fetch.import_file(copy, name="kept")
    monkeypatch.chdir(copy)
    assert fetch.import_file(Path()).name == "copy"
    for name in ("..", ".", "", "../x", "/etc", "a/../../b"):
        with pytest.raises(WeightsError, match="cannot name a backbone"):
            fetch._keep(name, copy / "open_clip_model.safetensors", {}, {})
    assert {b.name for b in clip.bundles()} >= {"kept", "copy"}


def test_importing_again_replaces(copy, home):
    fetch.import_file(copy, name="one")
    fetch.import_file(copy, name="one")
    assert sorted(p.name for p in (home / "medscan" / "weights").iterdir()) == ["one"]
