"""Features of the shots, kept from one fit for the next.

What `Method.prepare` makes of an image depends on its pixels, on the frozen backbone and on how the
method looks at it, but on nothing that is trained. A file holds one image in all its variants. Its
name is a digest of all that decides its content, and says nothing of the patient.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from medscan.errors import DiskError, UsageError
from medscan.files import make_folder, make_room, private_files, replacing
from medscan.methods import Method

log = logging.getLogger("medscan.fit")

VARIABLE = "MEDSCAN_FEATURE_CACHE"
"""Environment variable with the size of the cache in gigabytes."""
GIGABYTES = 2.0
"""Size of the cache, unless the variable says otherwise."""
LAYOUT = 1
"""Changes whenever the same name would stand for other content."""
TRAINING = ("learning_rate", "epochs", "batch", "decay", "variants")
"""Settings that change nothing before training."""


@dataclass(frozen=True, slots=True)
class View:
    """How an image is shown to a method.

    Parameters
    ----------
    variants : tuple of int
        Numbers of the variants that the method's augmentation makes of it.
    jitter : tuple of float or None
        Factors of brightness and contrast, if one of these is jittered.
    """

    variants: tuple[int, ...]
    jitter: tuple[float, ...] | None


class FeatureCache:
    """Files of features in a folder, of which the least recently used go first.

    Parameters
    ----------
    folder : Path
        Made, for its owner alone, when the first features are kept.
    limit : int
        Bytes of all files; 0 neither reads nor keeps any.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._used = 0

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return bool(self.limit) and (self.folder / name).is_file()

    def find(self, name: str) -> Tensor | None:
        """The features of this name; None if they are not there, or damaged."""
        if not self.has(name):
            return None
        path = self.folder / name
        try:
            data = path.read_bytes()
            found = safetensors.torch.load(data)
            features: Tensor = found["features"]
            checksum = int(found["crc32"])
            os.utime(path)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            log.debug("features in the cache cannot be read: %s", error)
            return None
        if _checksum(features) != checksum:
            return None
        self._used += len(data)
        return features

    def keep(self, name: str, features: Tensor) -> None:
        """Keep features, in place of others if need be, but not of those that this fit uses."""
        if self._used + features.nbytes > self.limit:
            return
        tensors = {"features": features.contiguous(), "crc32": torch.tensor(_checksum(features))}
        data = safetensors.torch.save(tensors)
        try:
            with private_files(True):
                make_folder(self.folder)
                make_room(self.folder, self.limit - len(data))
                with replacing(self.folder / name, synced=False) as path:
                    path.write_bytes(data)
        except (DiskError, OSError) as error:
            log.warning("features are not kept for the next fit: %s", error)
            self.limit = 0
        self._used += len(data)


def _checksum(features: Tensor) -> int:
    return zlib.crc32(features.contiguous().flatten().view(torch.uint8).numpy().tobytes())


def cache_of_user() -> FeatureCache:
    """The cache in `medscan/features` of the user's cache folder, as the environment sizes it.

    Raises
    ------
    UsageError
        The size is not a number.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    told = os.environ.get(VARIABLE, "")
    try:
        size = float(told or GIGABYTES)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise UsageError(f"{VARIABLE}={told}: give a number of gigabytes; 0 keeps no features")
    return FeatureCache(Path(base) / "medscan" / "features", int(size * 1e9))


def feature_name(method: Method, image: Tensor, view: View) -> str:
    """Name of the file of an image's features.

    Parameters
    ----------
    method : Method
        After it has looked at the shots.
    image : Tensor (3, S, S)
        In [0, 1].
    view : View
    """
    backbone, settings = method.backbone, asdict(method.settings)
    facts = {
        "layout": LAYOUT,
        "backbone": backbone.digest,
        "size": backbone.size,
        "precision": str(backbone.dtype),
        "method": method.name,
        "settings": {k: v for k, v in settings.items() if k not in TRAINING},
        "view": asdict(view),
        # Other processors, and other versions of PyTorch, round differently.
        "torch": torch.__version__,
        "device": str(backbone.device),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(image.contiguous().numpy().tobytes())
    return f"{digest.hexdigest()}.safetensors"
