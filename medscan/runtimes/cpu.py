"""What this CPU can multiply."""

from __future__ import annotations

from functools import cache
from pathlib import Path

INFO = Path("/proc/cpuinfo")


def computes_bf16() -> bool:
    """Whether it multiplies bfloat16 faster than single precision.

    Intel's CPUs do so with AMX only, which a virtual machine may lack. Their AVX-512 has the
    instruction, and needs four times as long for it: OpenVINO 2026.4 took 1.6 times as long for
    brain-flair in bf16 as in fp32 on such a Xeon (family 6, model 207), and AMD's half as long.
    """
    flags = _flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and _said("vendor_id") != "GenuineIntel")


def computes_int8() -> bool:
    """Whether it adds up products of bytes in 32 bits: without that, int8 saturates."""
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(_flags())


def _flags() -> frozenset[str]:
    return frozenset(_said("flags").split())


@cache
def _said(name: str) -> str:
    """What the first processor says of itself; empty if it does not say."""
    try:
        lines = INFO.read_text().splitlines()
    except OSError:  # not Linux
        return ""
    told = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in told if key.strip() == name), "")
