"""The header of a safetensors file: what it holds, without reading a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medscan.errors import WeightsError
from medscan.text import printable


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself.

    Parameters
    ----------
    metadata : dict
        Texts by key.
    shapes : dict
        Of the tensors, by name.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def foreign_format(path: Path) -> Literal["zip", "pickle"] | None:
    """Tell by its first bytes whether a file is a zip archive (TorchScript, say) or a pickle.

    A safetensors file starts with the length of its header, whose bytes may be those of either;
    the opening brace of the header follows them.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    if start[8:] == b"{":
        return None
    if start[:2] == b"PK":
        return "zip"
    return "pickle" if start[:1] == b"\x80" else None


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file, after checking that the file is whole.

    Raises
    ------
    WeightsError
        It is a pickle or a TorchScript archive, or shorter or longer than its header says.
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
            f"{path}: is no safetensors file, or is damaged ({printable(str(error), 120)}); fetch "
            "it again"
        ) from error


def check_safetensors(path: Path) -> None:
    """Refuse a file that is not whole, or not safetensors at all, before anything reads it.

    Raises
    ------
    WeightsError
        See `read_header`.
    """
    read_header(path)
