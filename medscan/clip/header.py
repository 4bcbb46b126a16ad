"""The header of a safetensors file: metadata and shapes, without reading a tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medscan.errors import WeightsError
from medscan.text import printable

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = ("F32", "F16", "BF16")
"""Number formats of weights, as safetensors calls them."""


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata and tensor shapes of a safetensors file.

    Parameters
    ----------
    metadata : dict
        Text by key.
    shapes : dict
        Shape of each tensor by its name.
    formats : dict
        Number format of each tensor by its name, such as F32.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    formats: dict[str, str]

    def part(self, prefix: str) -> Header:
        """The tensors whose names start so."""
        shapes = {name: shape for name, shape in self.shapes.items() if name.startswith(prefix)}
        return Header(self.metadata, shapes, self.formats)

    def misfit(self, expected: Mapping[str, Tensor]) -> str:
        """Say how the tensors of the file differ from those of a model; empty if they fit.

        Nothing of the file is read for it. A model on PyTorch's `meta` device has shapes without
        memory, so that what a file declares is compared before anything is allocated.
        """
        if missing := sorted(expected.keys() - self.shapes.keys()):
            return f"the tensor {missing[0]} is missing"
        if extra := sorted(self.shapes.keys() - expected.keys()):
            return f"the tensor {printable(extra[0], 80)} has no place in it"
        for name, tensor in expected.items():
            if self.shapes[name] != tuple(tensor.shape):
                found, wanted = (list(shape) for shape in (self.shapes[name], tensor.shape))
                return f"the tensor {name} has shape {found}, not {wanted}"
            if tensor.is_floating_point() and self.formats[name] not in FLOATS:
                return f"the tensor {name} has format {self.formats[name]}, not {FLOATS[0]}"
        return ""


def foreign_format(path: Path) -> Literal["zip", "pickle"] | None:
    """Recognise a zip archive (such as TorchScript) or a pickle by the first bytes of a file.

    A safetensors file starts with the length of its header, eight bytes that may look like either
    format. The opening brace of the header follows them and decides.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    if start[8:] == b"{":
        return None
    if start[:2] == b"PK":
        return "zip"
    return "pickle" if start[:1] == b"\x80" else None


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file, after checking that the file is complete.

    Raises
    ------
    WeightsError
        If it is a pickle or a TorchScript archive, or shorter or longer than its header says.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if foreign_format(path):
            raise WeightsError(
                f"{path}: pickled weights are never read; see `medscan weights import`"
            )
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
            formats = {name: tensor.get_dtype() for name, tensor in tensors.items()}
            return Header(file.metadata() or {}, shapes, formats)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: is damaged, or not a safetensors file ({printable(str(error), 120)}); fetch "
            "it again"
        ) from error


def check_safetensors(path: Path) -> None:
    """Check that a file is complete safetensors, before anything reads its tensors.

    Raises
    ------
    WeightsError
        As `read_header`.
    """
    read_header(path)


def in_order(data: bytes) -> bytes:
    """A safetensors file with its metadata sorted by key: the library writes them in any order."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[start:]
