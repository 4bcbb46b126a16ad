"""The header of a safetensors file: metadata and shapes, without reading a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medscan.errors import WeightsError
from medscan.text import printable


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata and tensor shapes of a safetensors file.

    Parameters
    ----------
    metadata : dict
        Text by key.
    shapes : dict
        Shape of each tensor by its name.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


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
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            return Header(file.metadata() or {}, shapes)
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
