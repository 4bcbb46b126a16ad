"""Building blocks of the methods: adapters, prompts, losses, scoring, memory of normal patches."""

from medscan.parts import losses, prompts, scoring
from medscan.parts.adapters import DualBranchAdapter, ResidualAdapter
from medscan.parts.memory import MemoryBank
from medscan.parts.prompts import SentencePairs

__all__ = [
    "DualBranchAdapter",
    "MemoryBank",
    "ResidualAdapter",
    "SentencePairs",
    "losses",
    "prompts",
    "scoring",
]
