"""Keep a backbone on this machine: from the network, or from a file that was carried in.

OpenAI published its weights as TorchScript archives, which run code when opened. Such a file is
opened once, only if its SHA-256 equals the published one (or one that the user vouches for), and is
then kept as safetensors.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch

from medscan.backbones.available import licence_of
from medscan.backbones.check import check_backbone
from medscan.backbones.clip_config import clip_config
from medscan.backbones.convert import convert
from medscan.clip import Bundle, check_safetensors, header, load, store
from medscan.clip import config as schema
from medscan.errors import WeightsError
from medscan.text import printable

# OpenAI's download addresses contain these hashes.
OPENAI = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B-32-quickgelu/openai",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B-16-quickgelu/openai",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L-14-quickgelu/openai",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": (
        "ViT-L-14-336-quickgelu/openai"
    ),
}


def import_file(path: Path, *, name: str | None = None, digest: str | None = None) -> Bundle:
    """Import a backbone from a file or folder.

    Parameters
    ----------
    path : Path
        OpenAI's TorchScript `.pt`; a `.safetensors` in the naming of open_clip or timm; a folder in
        the layout of open_clip, timm or Hugging Face transformers.
    name : str, optional
        Name to keep it under; required for `.safetensors`, as open_clip's `ARCHITECTURE/TAG` or
        `timm:NAME`.
    digest : str, optional
        SHA-256 that the file must have. A TorchScript file that OpenAI did not publish is opened
        only with it.

    Raises
    ------
    WeightsError
        If the file is not what it claims to be; nothing is written then.
    """
    if path.is_dir():
        return _import_folder(path, name or path.resolve().name)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    actual = store.sha256(path)
    if digest is not None and actual != digest.lower():
        raise WeightsError(f"{path}: has SHA-256 {actual}, not the {digest} asked for")
    foreign = header.foreign_format(path)
    if foreign == "zip":
        return _import_torchscript(path, actual, name, vouched=digest is not None)
    if foreign == "pickle":
        raise WeightsError(f"{path}: is a pickle, which medscan never opens; get safetensors")
    return _import_safetensors(path, actual, name)


def _import_folder(path: Path, name: str) -> Bundle:
    from safetensors.torch import load_file

    config_file = path / store.VISION_CONFIG
    if (path / store.CONFIG).is_file() or not config_file.is_file():
        source = store.read_bundle(name, path)
        return _keep(name, source.weights, source.config, source.origin)
    facts = schema.read_json(config_file, name)
    if not store.is_transformers(facts):
        source = store.read_bundle(name, path)
        return _keep(name, source.weights, source.config, source.origin)
    weights = path / store.VISION_WEIGHTS
    if not weights.is_file():
        raise WeightsError(f"{path}: lacks {weights.name}; pickled weights are never read")
    check_safetensors(weights)
    state, config = convert(path, facts, load_file(weights))
    origin = {"source": path.resolve().name, "source_sha256": store.sha256(weights)}
    return _keep(name, state, config, origin | _licence_of(path, facts), path)


def _licence_of(path: Path, facts: dict[str, Any]) -> dict[str, str]:
    """Licence that a folder states: in `config.json`, or at the head of its README."""
    stated = facts.get("license")
    readme = path / "README.md"
    if stated is None and readme.is_file():
        with readme.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(1 << 16)
        found = dict(re.findall(r"^(license|license_name):[ \t]*([\w.+-]{1,80})$", head, re.M))
        stated = found.get("license")
        stated = found.get("license_name", stated) if stated == "other" else stated
    return {"licence": stated} if isinstance(stated, str) and stated.isprintable() else {}


def _import_torchscript(path: Path, digest: str, name: str | None, *, vouched: bool) -> Bundle:
    published_name = OPENAI.get(digest)
    if published_name is None and not vouched:
        raise WeightsError(
            f"{path}: refused, because a TorchScript file runs code when opened and its SHA-256 "
            f"{digest} is not one that OpenAI published; fetch it again, or vouch for it with "
            "--sha256"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # deprecated, but OpenAI's files stay
            archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        state = dict(archive.state_dict())
    except (RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: not a TorchScript archive with weights") from error
    for extra in ("input_resolution", "context_length", "vocab_size"):
        state.pop(extra, None)
    config = {
        "model_cfg": openai_config(state, path),
        "preprocess_cfg": {"mean": store.CLIP.mean, "std": store.CLIP.std},
    }
    origin = {"source": path.name, "source_sha256": digest, "quick_gelu": True, "licence": "MIT"}
    return _keep(name or published_name or f"{path.stem}-quickgelu/openai", state, config, origin)


def openai_config(state: dict[str, torch.Tensor], path: Path) -> dict[str, Any]:
    """Derive the configuration of an OpenAI ViT from the shapes of its weights; always QuickGELU.

    Raises
    ------
    WeightsError
        If the tensors are not those of a CLIP with a vision transformer.
    """
    try:
        return clip_config(state, quick_gelu=True)
    except KeyError as error:
        raise WeightsError(f"{path}: not a CLIP with a vision transformer ({error})") from error


def _import_safetensors(path: Path, digest: str, name: str | None) -> Bundle:
    check_safetensors(path)
    origin = {"source": path.name, "source_sha256": digest}
    if (name or "").startswith(store.TIMM):
        return _keep(str(name), path, timm_config(str(name), path), origin)
    architecture, _, tag = (name or "").partition("/")
    # A name with a colon is an address, which open_clip would look up on the network.
    is_known = bool(architecture) and ":" not in architecture
    config = open_clip.get_model_config(architecture) if is_known else None
    if config is None:
        raise WeightsError(
            f"{path}: name it with --name: ARCHITECTURE/TAG as open_clip calls it (such as "
            "ViT-L-14-336-quickgelu/openai), or timm:NAME as timm does"
        )
    published = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    trained_quick = bool(published.get("quick_gelu", tag == "openai"))
    if (published or tag == "openai") and trained_quick != store.name_says_quick_gelu(architecture):
        raise WeightsError(store.wrong_activation(f"{architecture}/{tag}"))
    preprocess = {
        "mean": published.get("mean") or store.CLIP.mean,
        "std": published.get("std") or store.CLIP.std,
    }
    quick = store.name_says_quick_gelu(architecture)
    return _keep(
        f"{architecture}/{tag or 'imported'}",
        path,
        {"model_cfg": config, "preprocess_cfg": preprocess},
        origin | {"quick_gelu": quick},
    )


def timm_config(name: str, path: Path) -> dict[str, Any]:
    """`config.json` of the weights that timm calls by what follows `timm:`.

    Raises
    ------
    WeightsError
        If timm knows no such weights.
    """
    called = name.removeprefix(store.TIMM)
    known = store.timm_weights(called)
    if known is None:
        raise WeightsError(
            f"{path}: timm knows no {printable(called, 80)}; list its names with `python -c "
            "'import timm; print(timm.list_pretrained())'`"
        )
    return {
        "architecture": called.partition(".")[0],
        "num_classes": known.num_classes,
        "pretrained_cfg": {
            "input_size": list(known.input_size),
            "mean": list(known.mean),
            "std": list(known.std),
            "license": known.license,
        },
    }


def _keep(
    name: str,
    weights: Path | dict[str, torch.Tensor],
    config: dict[str, Any],
    origin: dict[str, Any],
    folder: Path | None = None,
) -> Bundle:
    """Write a bundle to a temporary folder, check it there, and move it into place.

    `folder` is one of Hugging Face transformers, to be compared with.
    """
    target = store.home() / store.checked_folder_name(name)
    try:
        store.home().mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".import-", dir=store.home()))
    except OSError as error:
        raise WeightsError(f"{store.home()}: cannot be written ({error.strerror})") from error
    licence = origin.get("licence") or licence_of(name)
    try:
        _write(aside, name, weights, config, origin | ({"licence": licence} if licence else {}))
        backbone = load(f"local-dir:{aside}")
        backbone.name = name
        _add_to_origin(aside, compared=check_backbone(backbone, folder))
        aside.chmod(0o755)
        _replace(target, aside)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return store.read_bundle(name, target)


def _write(
    aside: Path,
    name: str,
    weights: Path | dict[str, torch.Tensor],
    config: dict[str, Any],
    origin: dict[str, Any],
) -> None:
    from safetensors.torch import save_file

    alone = "architecture" in config
    file = aside / (store.VISION_WEIGHTS if alone else store.WEIGHTS)
    if isinstance(weights, dict):
        save_file({k: v.contiguous() for k, v in weights.items()}, file)
    else:
        shutil.copyfile(weights, file)
    config_file = aside / (store.VISION_CONFIG if alone else store.CONFIG)
    config_file.write_text(json.dumps(config, indent=2) + "\n")
    (aside / store.ORIGIN).write_text(json.dumps(origin, indent=2) + "\n")
    _add_to_origin(aside, name=name, sha256=store.sha256(file))


def _add_to_origin(folder: Path, **facts: str) -> None:
    file = folder / store.ORIGIN
    file.write_text(json.dumps(json.loads(file.read_text()) | facts, indent=2) + "\n")


def _replace(target: Path, aside: Path) -> None:
    if not target.exists():
        aside.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=".old-", dir=store.home()))
    target.rename(old / "bundle")
    aside.rename(target)
    shutil.rmtree(old)


def pull(name: str) -> Bundle:
    """Download a backbone by `ARCHITECTURE/TAG`, `timm:NAME` or `hf-hub:OWNER/NAME`.

    Nothing else in medscan uses the network.

    Raises
    ------
    WeightsError
        If the name is unknown, or the download failed.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository = store.hub_repository(name)
    if repository is None:
        raise WeightsError(
            f"backbone {name}: neither open_clip nor timm knows it on a hub; see `medscan weights "
            "list --available`"
        )
    try:
        try:
            return _pull_clip(name, repository)
        except EntryNotFoundError:  # also raised for a machine without network
            if name.startswith("hf-hub:"):
                return _pull_tower(name, repository)
            raise
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"backbone {name}: {repository} could not be fetched ({type(error).__name__}); on a "
            "machine without network use `medscan weights import FILE`"
        ) from error


def _pull_clip(name: str, repository: str) -> Bundle:
    from huggingface_hub import hf_hub_download

    if name.startswith(store.TIMM):
        return _pull_tower(name, repository)
    files = (store.CONFIG, store.WEIGHTS)
    config_file, weights = (Path(hf_hub_download(repository, file)) for file in files)
    config = schema.read_config(schema.Config, config_file, name)
    origin = {
        "source": f"hf-hub:{repository}",
        "quick_gelu": bool(config["model_cfg"].get("quick_gelu", False)),
    }
    check_safetensors(weights)
    return _keep(name, weights, config, origin)


def _pull_tower(name: str, repository: str) -> Bundle:
    """A vision tower alone, in the layout of timm or of Hugging Face transformers."""
    from huggingface_hub import hf_hub_download

    files = (store.VISION_CONFIG, store.VISION_WEIGHTS)
    folder = {Path(hf_hub_download(repository, file)).parent for file in files}.pop()
    kept = _import_folder(folder, name)
    _add_to_origin(kept.folder, source=f"hf-hub:{repository}")
    return store.read_bundle(name, kept.folder)


def verify(bundle: Bundle) -> str:
    """Return the SHA-256 of a bundle's weights, after comparing it with the recorded one.

    Raises
    ------
    WeightsError
        If the file is damaged or has changed.
    """
    check_safetensors(bundle.weights)
    actual = store.sha256(bundle.weights)
    recorded = bundle.origin.get("sha256")
    if recorded is not None and recorded != actual:
        raise WeightsError(
            f"backbone {bundle.name}: {bundle.weights} has SHA-256 {actual}, recorded was "
            f"{recorded}; fetch it again"
        )
    return actual
