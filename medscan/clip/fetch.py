"""Bring a backbone onto this machine: by network when asked to, or from a file carried in.

OpenAI published its weights as TorchScript archives, which run code when opened. Such a file is
opened once, only after its SHA-256 equals the published one (or one that the user vouches for),
and kept as safetensors.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from medscan.clip.config import Config, read_config
from medscan.clip.header import check_safetensors, foreign_format
from medscan.clip.store import (
    CLIP,
    CONFIG,
    ORIGIN,
    WEIGHTS,
    Bundle,
    checked_folder_name,
    home,
    hub_repository,
    load,
    name_says_quick_gelu,
    read_bundle,
    sha256,
    wrong_activation,
)
from medscan.errors import WeightsError

# The hashes are the path elements of the addresses that OpenAI published the files under.
OPENAI = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B-32-quickgelu/openai",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B-16-quickgelu/openai",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L-14-quickgelu/openai",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": (
        "ViT-L-14-336-quickgelu/openai"
    ),
}


def import_file(path: Path, *, name: str | None = None, digest: str | None = None) -> Bundle:
    """Take a file or folder that somebody carried in.

    Parameters
    ----------
    path : Path
        OpenAI's TorchScript `.pt`; a `.safetensors` in open_clip's naming; or a `local-dir` folder.
    name : str, optional
        `ARCHITECTURE/TAG` to keep it under; needed for `.safetensors`.
    digest : str, optional
        SHA-256 that the file must have. A TorchScript file that is not one of OpenAI's is opened
        only with it.

    Raises
    ------
    WeightsError
        Anything that is not what it claims to be; nothing is written then.
    """
    if path.is_dir():
        called = name or path.resolve().name
        source = read_bundle(called, path)
        return _keep(called, source.weights, source.config, source.origin)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    found = sha256(path)
    if digest is not None and found != digest.lower():
        raise WeightsError(f"{path}: has SHA-256 {found}, not the {digest} asked for")
    foreign = foreign_format(path)
    if foreign == "zip":
        return _import_torchscript(path, found, name, vouched=digest is not None)
    if foreign == "pickle":
        raise WeightsError(f"{path}: is a pickle, which medscan never opens; get safetensors")
    return _import_safetensors(path, found, name)


def _import_torchscript(path: Path, found: str, name: str | None, *, vouched: bool) -> Bundle:
    known = OPENAI.get(found)
    if known is None and not vouched:
        raise WeightsError(
            f"{path}: its SHA-256 {found} is none that OpenAI published; a TorchScript file runs "
            "code when opened, so it is refused (damaged or foreign: get it again, or vouch for it "
            "with --sha256)"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # deprecated, but OpenAI's files stay
            archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        state = dict(archive.state_dict())
    except (RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: is no TorchScript archive with weights") from error
    for extra in ("input_resolution", "context_length", "vocab_size"):
        state.pop(extra, None)
    config = {
        "model_cfg": openai_config(state, path),
        "preprocess_cfg": {"mean": CLIP.mean, "std": CLIP.std},
    }
    origin = {"source": path.name, "source_sha256": found, "quick_gelu": True, "licence": "MIT"}
    return _keep(name or known or f"{path.stem}-quickgelu/openai", state, config, origin)


def openai_config(state: dict[str, torch.Tensor], path: Path) -> dict[str, Any]:
    """Architecture of an OpenAI ViT from the shapes of its weights; always QuickGELU.

    Raises
    ------
    WeightsError
        The tensors are not those of a CLIP with a vision transformer.
    """
    try:
        kernel = state["visual.conv1.weight"]
        grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
        text_width = int(state["ln_final.weight"].shape[0])
        return {
            "embed_dim": int(state["text_projection"].shape[1]),
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": grid * kernel.shape[-1],
                "layers": _count(state, "visual.transformer.resblocks."),
                "width": int(kernel.shape[0]),
                "patch_size": int(kernel.shape[-1]),
                "head_width": 64,
            },
            "text_cfg": {
                "context_length": int(state["positional_embedding"].shape[0]),
                "vocab_size": int(state["token_embedding.weight"].shape[0]),
                "width": text_width,
                "heads": max(1, text_width // 64),
                "layers": _count(state, "transformer.resblocks."),
            },
        }
    except KeyError as error:
        raise WeightsError(f"{path}: holds no CLIP with a vision transformer ({error})") from error


def _count(state: dict[str, torch.Tensor], prefix: str) -> int:
    return len({k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)})


def _import_safetensors(path: Path, found: str, name: str | None) -> Bundle:
    import open_clip

    check_safetensors(path)
    architecture, _, tag = (name or "").partition("/")
    config = open_clip.get_model_config(architecture) if architecture else None
    if config is None:
        raise WeightsError(
            f"{path}: say what it is with --name ARCHITECTURE/TAG, the architecture by open_clip's "
            "name (such as ViT-L-14-336-quickgelu/openai)"
        )
    known = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    trained_quick = bool(known.get("quick_gelu", tag == "openai"))
    if (known or tag == "openai") and trained_quick != name_says_quick_gelu(architecture):
        raise WeightsError(wrong_activation(f"{architecture}/{tag}"))
    preprocess = {
        "mean": known.get("mean") or CLIP.mean,
        "std": known.get("std") or CLIP.std,
    }
    origin = {
        "source": path.name,
        "source_sha256": found,
        "quick_gelu": name_says_quick_gelu(architecture),
    }
    return _keep(
        f"{architecture}/{tag or 'imported'}",
        path,
        {"model_cfg": config, "preprocess_cfg": preprocess},
        origin,
    )


def _keep(
    name: str,
    weights: Path | dict[str, torch.Tensor],
    config: dict[str, Any],
    origin: dict[str, Any],
) -> Bundle:
    """Write a bundle aside, load it once to see that it is whole, and move it into place."""
    from safetensors.torch import save_file

    target = home() / checked_folder_name(name)
    try:
        home().mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".import-", dir=home()))
    except OSError as error:
        raise WeightsError(f"{home()}: cannot be written ({error.strerror})") from error
    try:
        if isinstance(weights, dict):
            save_file({k: v.contiguous() for k, v in weights.items()}, aside / WEIGHTS)
        else:
            shutil.copyfile(weights, aside / WEIGHTS)
        record = origin | {"name": name, "sha256": sha256(aside / WEIGHTS)}
        (aside / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        (aside / ORIGIN).write_text(json.dumps(record, indent=2) + "\n")
        load(f"local-dir:{aside}")
        aside.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=".old-", dir=home()))
            target.rename(old / "bundle")
            aside.rename(target)
            shutil.rmtree(old)
        else:
            aside.rename(target)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return read_bundle(name, target)


def pull(name: str) -> Bundle:
    """Fetch a backbone by open_clip's name `ARCHITECTURE/TAG` or `hf-hub:OWNER/NAME`.

    The only place in medscan that uses the network.

    Raises
    ------
    WeightsError
        The name is unknown, or the network did not give it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository = hub_repository(name)
    if repository is None:
        raise WeightsError(
            f"backbone {name}: open_clip knows no such ARCHITECTURE/TAG on a hub; its names are "
            "listed by `python -c 'import open_clip; print(open_clip.list_pretrained())'`"
        )
    try:
        config_file, weights = (hf_hub_download(repository, f) for f in (CONFIG, WEIGHTS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"backbone {name}: {repository} could not be fetched ({type(error).__name__}); on a "
            "machine without network use `medscan weights import FILE`"
        ) from error
    config = read_config(Config, Path(config_file), name)
    origin = {
        "source": f"hf-hub:{repository}",
        "quick_gelu": bool(config["model_cfg"].get("quick_gelu", False)),
    }
    check_safetensors(Path(weights))
    return _keep(name, Path(weights), config, origin)


def verify(bundle: Bundle) -> str:
    """SHA-256 of a bundle's weights, compared with the one recorded when it was kept.

    Raises
    ------
    WeightsError
        The file is damaged or was changed.
    """
    check_safetensors(bundle.weights)
    found = sha256(bundle.weights)
    recorded = bundle.origin.get("sha256")
    if recorded is not None and recorded != found:
        raise WeightsError(
            f"backbone {bundle.name}: {bundle.weights} has SHA-256 {found}, recorded was {recorded}"
        )
    return found
