"""Whose images a detector was fitted on: a private file beside it, which an evaluation reads.

A detector's file may be given away. Whose images it has seen stays behind: `NAME.safetensors` has
digests of the patients, as their files and tables state them, in `NAME.safetensors.patients`. They
are keyed, by the content of the shots, so that the same patient has another digest for another
detector; but who has both files can try out identities.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from medscan.errors import DiskError, UsageError
from medscan.files import replacing
from medscan.schema import CLOSED, Digest, checked

SUFFIX = ".patients"
LARGEST_FILE = 1 << 26
"""Bytes that such a file may have: those of a million patients."""


@dataclass(frozen=True, slots=True)
class _Donors:
    """What the file holds: SHA-256 of the detector that it belongs to, and digests of patients."""

    __pydantic_config__ = CLOSED

    detector: Digest
    patients: list[Annotated[str, Field(pattern="^[0-9a-f]{32}$")]]


def digests(identities: Iterable[str], fingerprints: Iterable[str]) -> tuple[str, ...]:
    """Digests of patients, sorted, for the detector whose shots have these fingerprints."""
    key = hashlib.sha256("\n".join(sorted(fingerprints)).encode()).digest()
    texts = (identity.encode("utf-8", "surrogateescape") for identity in identities)
    found = {hashlib.blake2b(text, key=key, digest_size=16).hexdigest() for text in texts}
    return tuple(sorted(found))


def write(detector: Path, digest: str, donors: tuple[str, ...] | None) -> None:
    """Write the file beside a detector's, readable to its owner alone; without donors, remove it.

    Raises
    ------
    DiskError
        If it could not be written.
    """
    path = detector.with_name(detector.name + SUFFIX)
    if not donors:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"{path} could not be removed: {error.strerror}") from error
        return
    with replacing(path) as aside:
        aside.chmod(0o600)
        facts = {"detector": digest, "patients": list(donors)}
        aside.write_text(json.dumps(facts, indent=1) + "\n")


def read(detector: Path, digest: str) -> tuple[str, ...] | None:
    """Read the file beside a detector's; None if there is none for it, or it cannot be read."""
    path = detector.with_name(detector.name + SUFFIX)
    with suppress(OSError, ValueError, RecursionError, UsageError):
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            facts = json.loads(stream.read(LARGEST_FILE))
        found = checked(_Donors, facts, str(path), UsageError)
        if found.detector == digest:
            return tuple(found.patients)
    return None
