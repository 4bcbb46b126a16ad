"""The secret key of the pseudonyms: created once, never changed silently."""

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

KEY_BYTES = 32


def pseudonym_key(outputs: Outputs, fingerprint: str) -> bytes:
    """Read the key file, or create it if there are no results yet.

    Parameters
    ----------
    outputs : Outputs
    fingerprint : str
        Fingerprint of the key that the results were made with; empty if there are no results.

    Raises
    ------
    UsageError
        If the file is missing, malformed, or holds another key than that of the results.
    DiskError
        If it cannot be read or written.
    """
    path = outputs.key_path
    if not fingerprint and not os.path.lexists(path):
        _create(path)
    key = read_key(path)
    if fingerprint and fingerprint_of(key) != fingerprint:
        raise UsageError(
            f"{path} is not the key file that {outputs.out} was made with; name that one with "
            "--key-file, or choose another --out"
        )
    return key


def key_beside(results: Path) -> Path:
    """Return the default path of the key file of a results file."""
    return results.with_name(results.name + ".key")


def results_pseudonyms(
    results: Path, fingerprint: str, key_file: Path | None = None
) -> Pseudonyms | None:
    """Return the pseudonyms that a results file was written with; None if it has no key.

    Parameters
    ----------
    results : Path
    fingerprint : str
        Fingerprint of the key that they were made with; empty in files of older versions.
    key_file : Path, optional
        Used in place of the one beside the results.

    Raises
    ------
    UsageError
        If the key file is missing, malformed, or holds another key than that of the results.
    DiskError
        If it cannot be read.
    """
    path = key_file or key_beside(results)
    if not os.path.lexists(path):
        if not fingerprint and key_file is None:
            return None
        raise UsageError(f"key file {path} is missing: name the one of {results} with --key-file")
    key = read_key(path)
    if fingerprint and fingerprint_of(key) != fingerprint:
        raise UsageError(
            f"{path} is not the key file that {results} was made with: "
            "name that one with --key-file"
        )
    return Pseudonyms(key)


def read_key(path: Path) -> bytes:
    """Read the key in a key file: 64 hexadecimal digits."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            text = stream.read(4 * KEY_BYTES)
    except FileNotFoundError as error:
        raise UsageError(
            f"key file {path} is missing: without it patients would get other pseudonyms than in "
            "the results; restore it, or choose another --out"
        ) from error
    except OSError as error:
        raise DiskError(f"key file {path} cannot be read: {error.strerror}") from error
    with suppress(ValueError):  # includes UnicodeDecodeError
        key = bytes.fromhex(text.decode("ascii"))
        if len(key) == KEY_BYTES:
            return key
    raise UsageError(f"{path} is not a key file of medscan: it must hold 64 hexadecimal digits")


def fingerprint_of(key: bytes) -> str:
    """Return a hash that tells keys apart without revealing them."""
    return hashlib.blake2b(b"fingerprint", key=key, digest_size=8).hexdigest()


def _create(path: Path) -> None:
    """Create a key file in one step, with mode 0600; an existing one is never replaced."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.unlink(missing_ok=True)
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(f"{secrets.token_hex(KEY_BYTES)}\n")
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
    except FileExistsError:  # another scan was faster: use its key
        return
    except OSError:  # a file system without hard links
        aside.rename(path)
