"""What this CPU can multiply."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

INFO = Path("/proc/cpuinfo")


def computes_bf16() -> bool:
    """Whether it multiplies bfloat16, rather than emulates it."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_flags())


def computes_int8() -> bool:
    """Whether it adds up products of bytes in 32 bits: without that, int8 saturates."""
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(_flags())


@cache
def _flags() -> frozenset[str]:
    try:
        found = re.search(r"^flags\s*:(.*)$", INFO.read_text(), re.MULTILINE)
    except OSError:  # not Linux
        return frozenset()
    return frozenset(found[1].split() if found else ())
