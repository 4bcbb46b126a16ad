"""Arguments of the interface -> the values that the rooms below take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from medscan.archive import FACTS, Stated, stated_domain
from medscan.choices import Precision, RuntimeName, Shard
from medscan.errors import UsageError
from medscan.options import Compute

PathLike = str | os.PathLike[str]
Choice = TypeVar("Choice", bound=StrEnum)


def path_of(given: PathLike) -> Path:
    """Return a path.

    Raises
    ------
    UsageError
        If it is none.
    """
    if not isinstance(given, (str, os.PathLike)) or "\0" in str(given) or not str(given):
        raise UsageError(f"{given!r} is no path")
    return Path(given)


def paths_of(given: PathLike | Iterable[PathLike]) -> tuple[Path, ...]:
    """One path or several, as a tuple."""
    several = [given] if isinstance(given, (str, os.PathLike)) else given
    return tuple(path_of(path) for path in several)


def chosen(name: str, value: str, choices: type[Choice]) -> Choice:
    """Return the choice of this value.

    Raises
    ------
    UsageError
        If there is none.
    """
    try:
        return choices(value)
    except ValueError:
        raise UsageError(f"{name}={value!r}: choose one of {', '.join(choices)}") from None


def compute_of(
    device: str, precision: str, batch_size: int | None, workers: int, runtime: str = "auto"
) -> Compute:
    """What a model and its decoders run on.

    Raises
    ------
    UsageError
        If a value is none of those that there are.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size={batch_size}: a whole number above 0, or None")
    if workers < 0:
        raise UsageError(f"workers={workers}: 0 or more")
    number = chosen("precision", precision, Precision)
    library = chosen("runtime", runtime, RuntimeName)
    return Compute(device, number, batch_size, workers, library)


def bytes_of(max_file_gib: float) -> int:
    """Return the bytes that a file may have.

    Raises
    ------
    UsageError
        If they are none, or more than any disk holds.
    """
    if not 0 < max_file_gib < 1 << 20:
        raise UsageError(f"max_file_gib={max_file_gib:g}: a number of GiB above 0")
    return max(1, int(max_file_gib * (1 << 30)))


def shard_of(shard: tuple[int, int] | None) -> Shard | None:
    """Return one of several shards, such as (3, 16).

    Raises
    ------
    UsageError
        If there is no such shard.
    """
    if shard is None:
        return None
    number, count = shard
    if not 1 <= number <= count:
        raise UsageError(f"shard={shard!r}: (I, N) with I from 1 to N, such as (3, 16)")
    return Shard(number, count)


def stated_of(domain: Mapping[str, str] | None) -> Stated:
    """What the caller states of images that are not DICOM.

    Raises
    ------
    UsageError
        If something of it is not understood.
    """
    stated, wrong = stated_domain(dict(domain or {}))
    if wrong:
        raise UsageError(f"domain: {wrong[0]}")
    return stated


def left_out_of(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Keywords and words of series that are out of scope.

    Raises
    ------
    UsageError
        If a keyword is not one that detectors are chosen by.
    """
    known, pairs = [fact.keyword for fact in FACTS], tuple(pairs)
    for keyword, _ in pairs:
        if keyword not in known:
            near = get_close_matches(keyword[:80], known, 1)
            advice = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
            raise UsageError(f"leave_out: {keyword[:80]!r} is no such keyword; {advice}")
    return pairs
