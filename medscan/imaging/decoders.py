"""Which DICOM transfer syntaxes this installation decodes, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version

from pydicom.pixels import get_decoder
from pydicom.uid import UID, UID_dictionary

from medscan.imaging.dicom import _ITK_JPEG, PLUGINS


@dataclass(frozen=True, slots=True)
class Decoder:
    """A package that decodes pixels."""

    package: str
    version: str


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax for images.

    Parameters
    ----------
    uid, name : str
        As in PS3.6 table A-1.
    decoders : tuple of Decoder
        In the order in which they are tried; empty: it cannot be decoded.
    """

    uid: str
    name: str
    decoders: tuple[Decoder, ...]


def syntaxes() -> list[Syntax]:
    """Every transfer syntax that DICOM has or had, by UID."""
    uids = [UID(uid) for uid, facts in UID_dictionary.items() if facts[1] == "Transfer Syntax"]
    by_numbers = sorted(uids, key=lambda uid: [int(part) for part in uid.split(".")])
    return [Syntax(str(uid), uid.name, tuple(_decoders(uid))) for uid in by_numbers]


def _decoders(uid: UID) -> list[Decoder]:
    try:
        decoder = get_decoder(uid)
    except NotImplementedError:
        return []
    if not uid.is_encapsulated:
        return _installed("pydicom")
    known = [plugin for plugin in PLUGINS if plugin in decoder.available_plugins]
    found = [package for plugin in known for package in _packages(plugin, uid)]
    return found + (_installed("SimpleITK") if uid in _ITK_JPEG else [])


def _packages(plugin: str, uid: UID) -> list[Decoder]:
    """The packages behind a plugin of pydicom: pylibjpeg has one for each family."""
    if plugin != "pylibjpeg":
        return _installed(plugin)
    points = entry_points(group="pylibjpeg.pixel_data_decoders", name=str(uid))
    return [Decoder(point.dist.name, point.dist.version) for point in points if point.dist]


def _installed(package: str) -> list[Decoder]:
    try:
        return [Decoder(package, version(package))]
    except PackageNotFoundError:
        return []
