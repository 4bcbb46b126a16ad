"""The secret key of the pseudonyms: made once, never changed silently."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from medscan.archive import Pseudonyms
from medscan.errors import DiskError, UsageError
from medscan.files import sync_folder
from medscan.options import Outputs

BYTES = 32


def pseudonym_key(outputs: Outputs, fingerprint: str) -> bytes:
    """The key in the key file, which is made when there are no results yet that need another.

    Parameters
    ----------
    outputs : Outputs
    fingerprint : str
        Of the key that the results were made with; empty where there are none.

    Raises
    ------
    UsageError
        The file is missing, is none, or is not the one that the results were made with.
    DiskError
        It cannot be read or written.
    """
    path = outputs.key_path
    if not fingerprint and not os.path.lexists(path):
        _make(path)
    key = read_key(path)
    if fingerprint and fingerprint_of(key) != fingerprint:
        raise UsageError(
            f"{path} is not the key file that {outputs.out} was made with; name that with "
            "--key-file, or choose another --out"
        )
    return key


def key_beside(results: Path) -> Path:
    """Where the key file of a results file is, unless another was named."""
    return results.with_name(results.name + ".key")


def results_pseudonyms(
    results: Path, fingerprint: str, key_file: Path | None = None
) -> Pseudonyms | None:
    """What names the files that results are of; None where no key was ever named.

    Parameters
    ----------
    results : Path
    fingerprint : str
        Of the key that they were made with; empty in files of older versions.
    key_file : Path, optional
        In place of the one beside the results.

    Raises
    ------
    UsageError
        The key file is missing, is none, or is not the one that the results were made with.
    DiskError
        It cannot be read.
    """
    path = key_file or key_beside(results)
    if not os.path.lexists(path):
        if not fingerprint and key_file is None:
            return None
        raise UsageError(f"key file {path} is missing: name that of {results} with --key-file")
    key = read_key(path)
    if fingerprint and fingerprint_of(key) != fingerprint:
        raise UsageError(
            f"{path} is not the key file that {results} was made with: name that with --key-file"
        )
    return Pseudonyms(key)


def read_key(path: Path) -> bytes:
    """The key in a key file: 64 hexadecimal digits."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            text = stream.read(4 * BYTES)
    except FileNotFoundError as error:
        raise UsageError(
            f"key file {path} is missing: without it patients would get other pseudonyms than in "
            "the results; restore it, or choose another --out"
        ) from error
    except OSError as error:
        raise DiskError(f"key file {path} cannot be read: {error.strerror}") from error
    with suppress(ValueError):  # also of UnicodeDecodeError
        key = bytes.fromhex(text.decode("ascii"))
        if len(key) == BYTES:
            return key
    raise UsageError(f"{path} is no key file of medscan: 64 hexadecimal digits")


def fingerprint_of(key: bytes) -> str:
    """Tells keys apart and leads to none."""
    return hashlib.blake2b(b"fingerprint", key=key, digest_size=8).hexdigest()


def _make(path: Path) -> None:
    """Appears whole or not at all, with mode 0600; one that is there by then stays."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.unlink(missing_ok=True)
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(f"{secrets.token_hex(BYTES)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        _put_in_place(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise DiskError(f"key file {path} cannot be written: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)


def _put_in_place(aside: Path, path: Path) -> None:
    try:
        path.hardlink_to(aside)
    except FileExistsError:  # another scan was faster: its key is the key
        return
    except OSError:  # a file system without links
        aside.rename(path)
