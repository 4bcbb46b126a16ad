"""Where a PACS is: the address of its DICOMweb service, or of its DICOM port."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from medscan.errors import UsageError
from medscan.pacs.login import Login
from medscan.text import printable

_PEER = re.compile(r"([^@\\\s]{1,16})@([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_TITLE = re.compile(r"[!-\[\]-~]{1,16}")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Address of a DICOMweb service, such as https://pacs/dicom-web, without a slash at its end."""

    url: str

    @property
    def host(self) -> str:
        """Its host, and the port if it is stated: what messages name it by."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM application entity.

    Parameters
    ----------
    title : str
        Its AE title.
    name : str
        Its host.
    port : int
    """

    title: str
    name: str
    port: int

    @property
    def host(self) -> str:
        """What messages name it by."""
        return f"{self.title}@{self.name}:{self.port}"


def web_address(text: str, login: Login) -> WebAddress:
    """Parse the address of a DICOMweb service.

    Raises
    ------
    UsageError
        If it is none, holds credentials, which command lines show to everybody, or would carry
        those of the login over a network that is not encrypted.
    """
    # What does not parse may still hold a password: no message quotes what stands before an @.
    shown = printable(re.sub(r"//[^/]*@", "//...@", text), 120)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{shown} is not an address, such as https://pacs/dicom-web") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{shown}: leave user and password out; see --login")
    plain = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not host or not plain:
        raise UsageError(f"{shown} is not an address, such as https://pacs/dicom-web")
    if parts.query or parts.fragment:
        raise UsageError(f"{shown}: an address without ? and #, such as https://pacs/dicom-web")
    if parts.scheme == "http" and login.is_secret and not _is_own(host):
        raise UsageError(f"{shown}: credentials are sent to https:// addresses only")
    return WebAddress(text.rstrip("/"))


def peer(text: str) -> Peer:
    """Parse the address of a DICOM application entity, AET@host:port.

    Raises
    ------
    UsageError
        If it is none.
    """
    match = _PEER.fullmatch(text)
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise UsageError(f"{printable(text, 120)}: write AET@host:port, such as ORTHANC@pacs:4242")
    return Peer(own_title(match[1]), match[2].strip("[]"), int(match[3]))


def own_title(text: str) -> str:
    """Check an AE title (DICOM PS3.5 table 6.2-1).

    Raises
    ------
    UsageError
        If it is none.
    """
    if not _TITLE.fullmatch(text):
        raise UsageError(f"{printable(text, 80)}: an AE title has 1 to 16 ASCII characters")
    return text


def _is_own(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
