"""Building blocks of methods: adapters, prompts, losses, discriminants, memory, distances."""

from medscan.parts import discriminant, foreground, fusion, losses, prompts, scoring
from medscan.parts.adapters import DualBranchAdapter, ResidualAdapter
from medscan.parts.discriminant import Moments, PatchShots
from medscan.parts.distance import Distance
from medscan.parts.experts import Experts
from medscan.parts.memory import MemoryBank, PartedMemory
from medscan.parts.prompts import SentencePairs
from medscan.parts.regression import describe

__all__ = [
    "Distance",
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
