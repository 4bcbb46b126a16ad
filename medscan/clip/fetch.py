"""Install a backbone on this machine: by network, or from a file that was carried in.

OpenAI published its weights as TorchScript archives, which run code when opened. Such a file is
opened once, only if its SHA-256 equals the published one (or one that the user vouches for), and is
then kept as safetensors.
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
        OpenAI's TorchScript `.pt`; a `.safetensors` in open_clip's naming; or a `local-dir` folder.
    name : str, optional
        `ARCHITECTURE/TAG` to keep it under; required for `.safetensors`.
    digest : str, optional
        SHA-256 that the file must have. A TorchScript file that OpenAI did not publish is opened
        only with it.

    Raises
    ------
    WeightsError
        If the file is not what it claims to be; nothing is written then.
    """
    if path.is_dir():
        bundle_name = name or path.resolve().name
        source = read_bundle(bundle_name, path)
        return _keep(bundle_name, source.weights, source.config, source.origin)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    actual = sha256(path)
    if digest is not None and actual != digest.lower():
        raise WeightsError(f"{path}: has SHA-256 {actual}, not the {digest} asked for")
    foreign = foreign_format(path)
    if foreign == "zip":
        return _import_torchscript(path, actual, name, vouched=digest is not None)
    if foreign == "pickle":
        raise WeightsError(f"{path}: is a pickle, which medscan never opens; get safetensors")
    return _import_safetensors(path, actual, name)


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
        "preprocess_cfg": {"mean": CLIP.mean, "std": CLIP.std},
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
        raise WeightsError(f"{path}: not a CLIP with a vision transformer ({error})") from error


def _count(state: dict[str, torch.Tensor], prefix: str) -> int:
    """Number of transformer blocks below a prefix of names."""
    return len({k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)})


def _import_safetensors(path: Path, digest: str, name: str | None) -> Bundle:
    import open_clip

    check_safetensors(path)
    architecture, _, tag = (name or "").partition("/")
    # A name with a colon is an address, which open_clip would look up on the network.
    is_known = bool(architecture) and ":" not in architecture
    config = open_clip.get_model_config(architecture) if is_known else None
    if config is None:
        raise WeightsError(
            f"{path}: name it with --name ARCHITECTURE/TAG, the architecture as open_clip calls it "
            "(such as ViT-L-14-336-quickgelu/openai)"
        )
    published = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    trained_quick = bool(published.get("quick_gelu", tag == "openai"))
    if (published or tag == "openai") and trained_quick != name_says_quick_gelu(architecture):
        raise WeightsError(wrong_activation(f"{architecture}/{tag}"))
    preprocess = {
        "mean": published.get("mean") or CLIP.mean,
        "std": published.get("std") or CLIP.std,
    }
    origin = {
        "source": path.name,
        "source_sha256": digest,
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
    """Write a bundle to a temporary folder, load it once as a check, and move it into place."""
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
    """Download a backbone by open_clip's name `ARCHITECTURE/TAG` or `hf-hub:OWNER/NAME`.

    Nothing else in medscan uses the network.

    Raises
    ------
    WeightsError
        If the name is unknown, or the download failed.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository = hub_repository(name)
    if repository is None:
        raise WeightsError(
            f"backbone {name}: open_clip knows no such ARCHITECTURE/TAG on a hub; list its names "
            "with `python -c 'import open_clip; print(open_clip.list_pretrained())'`"
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
    """Return the SHA-256 of a bundle's weights, after comparing it with the recorded one.

    Raises
    ------
    WeightsError
        If the file is damaged or has changed.
    """
    check_safetensors(bundle.weights)
    actual = sha256(bundle.weights)
    recorded = bundle.origin.get("sha256")
    if recorded is not None and recorded != actual:
        raise WeightsError(
            f"backbone {bundle.name}: {bundle.weights} has SHA-256 {actual}, recorded was "
            f"{recorded}; fetch it again"
        )
    return actual
