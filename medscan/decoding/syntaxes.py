"""Which DICOM transfer syntaxes this installation decodes, and with which packages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version

from pydicom.uid import UID, UID_dictionary

from medscan.decoding.stored import ITK_SYNTAXES, PLUGINS, decoder_of
from medscan.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class DecoderPackage:
    """An installed package that decodes pixels."""

    package: str
    version: str


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax, and what decodes it.

    Parameters
    ----------
    uid, name : str
        As in PS3.6 table A-1.
    decoders : tuple of DecoderPackage
        In the order in which they are tried; empty if it cannot be decoded.
    """

    uid: str
    name: str
    decoders: tuple[DecoderPackage, ...]


def syntaxes() -> list[Syntax]:
    """List every current and retired transfer syntax of DICOM, by UID."""
    uids = [UID(uid) for uid, facts in UID_dictionary.items() if facts[1] == "Transfer Syntax"]
    by_numbers = sorted(uids, key=lambda uid: [int(part) for part in uid.split(".")])
    return [Syntax(str(uid), uid.name, tuple(_decoders(uid))) for uid in by_numbers]


def _decoders(uid: UID) -> list[DecoderPackage]:
    try:
        decoder = decoder_of(uid)
    except UnsupportedError:
        return []
    if not uid.is_encapsulated:
        return _installed("pydicom")
    available = decoder.available_plugins if decoder else ()
    plugins = [plugin for plugin in PLUGINS if plugin in available]
    packages = [package for plugin in plugins for package in _packages(plugin, uid)]
    return packages + (_installed("SimpleITK") if uid in ITK_SYNTAXES else [])


def _packages(plugin: str, uid: UID) -> list[DecoderPackage]:
    """Packages behind a plugin of pydicom: pylibjpeg has one for each family of syntaxes."""
    if plugin != "pylibjpeg":
        return _installed(plugin)
    points = entry_points(group="pylibjpeg.pixel_data_decoders", name=str(uid))
    return [DecoderPackage(point.dist.name, point.dist.version) for point in points if point.dist]


def _installed(package: str) -> list[DecoderPackage]:
    try:
        return [DecoderPackage(package, version(package))]
    except PackageNotFoundError:
        return []
