"""What the methods are made of: adapters, prompts, losses, scoring, a memory of normal patches."""

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
