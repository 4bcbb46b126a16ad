"""Building blocks of the methods: adapters, prompts, losses, discriminants, memory, scoring."""

from medscan.parts import discriminant, foreground, fusion, losses, prompts, scoring
from medscan.parts.adapters import DualBranchAdapter, ResidualAdapter
from medscan.parts.discriminant import Moments, PatchShots
from medscan.parts.experts import Experts
from medscan.parts.memory import MemoryBank, PartedMemory
from medscan.parts.prompts import SentencePairs
from medscan.parts.regression import describe

__all__ = [
    "DualBranchAdapter",
    "Experts",
    "MemoryBank",
    "Moments",
    "PartedMemory",
    "PatchShots",
    "ResidualAdapter",
    "SentencePairs",
    "describe",
    "discriminant",
    "foreground",
    "fusion",
    "losses",
    "prompts",
    "scoring",
]
