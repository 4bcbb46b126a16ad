"""Building blocks of the methods: adapters, prompts, losses, discriminants, memory, scoring."""

from medscan.parts import foreground, fusion, losses, prompts, scoring
from medscan.parts.adapters import DualBranchAdapter, ResidualAdapter
from medscan.parts.discriminant import PatchShots
from medscan.parts.experts import Experts
from medscan.parts.memory import MemoryBank
from medscan.parts.prompts import SentencePairs

__all__ = [
    "DualBranchAdapter",
    "Experts",
    "MemoryBank",
    "PatchShots",
    "ResidualAdapter",
    "SentencePairs",
    "foreground",
    "fusion",
    "losses",
    "prompts",
    "scoring",
]
