"""Who medscan is to a PACS: credentials and certificates, never from the command line."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from medscan.errors import UsageError
from medscan.text import printable

FILE_VARIABLE = "MEDSCAN_PACS_LOGIN"
VARIABLES = {
    "user": "MEDSCAN_PACS_USER",
    "password": "MEDSCAN_PACS_PASSWORD",
    "token": "MEDSCAN_PACS_TOKEN",
}
"""Variables of the environment, which count more than the file."""
LARGEST = 1 << 16
"""Most bytes of the file."""
_PATHS = ("ca", "certificate", "key")


@dataclass(frozen=True, slots=True)
class Login:
    """What a PACS knows medscan by; empty where it asks for nothing.

    Parameters
    ----------
    user, password : str
        For HTTP's basic authentication.
    token : str
        Bearer token, in their place.
    ca : str
        File with the certificates of the authorities that sign the PACS's, if it is not one that
        the system trusts.
    certificate, key : str
        Files with medscan's own certificate, and its key where that is apart.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def is_secret(self) -> bool:
        """Whether it holds what nobody may overhear."""
        return bool(self.user or self.password or self.token)


def read_login(path: Path | None, environment: Mapping[str, str] | None = None) -> Login:
    """Read the login of a PACS from a file, and from the environment.

    Parameters
    ----------
    path : Path or None
        TOML with the fields of `Login`; None: the file that $MEDSCAN_PACS_LOGIN names, if any.
    environment : mapping
        Of this process, unless told otherwise.

    Raises
    ------
    UsageError
        If the file cannot be read, others may read it, or something in it is wrong. The message
        quotes nothing of it but the names of its fields.
    """
    environment = os.environ if environment is None else environment
    named = path or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    values = _read(named) if named else {}
    values |= {name: environment[v] for name, v in VARIABLES.items() if environment.get(v)}
    login = Login(**values)
    if bool(login.user) != bool(login.password):
        raise UsageError("the login of the PACS has a user or a password alone: it needs both")
    if login.token and login.user:
        raise UsageError("the login of the PACS has a user and a token: it needs one of them")
    for name in _PATHS:
        file = getattr(login, name)
        if file and not Path(file).is_file():
            raise UsageError(f"{named}: {name}: there is no file {printable(file, 200)}")
    return login


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise UsageError(f"{path}: others may read it; run `chmod 600 {path}` first")
    return _checked(path, data)


def _checked(path: Path, data: bytes) -> dict[str, str]:
    try:
        values = tomllib.loads(data[:LARGEST].decode())
    except (ValueError, RecursionError):  # their messages quote the file
        raise UsageError(f'{path} is not TOML, with lines such as user = "medscan"') from None
    known = [f.name for f in fields(Login)]
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"{path}: {printable(name, 80)}: choose one of {', '.join(known)}")
        if not (isinstance(value, str) and value.isprintable()):
            raise UsageError(f"{path}: {name} must be a text in quotes, on one line")
    return values
