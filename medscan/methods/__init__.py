"""Tokens -> anomaly map on the patch grid and image score; one module per published system."""

from medscan.methods.base import Batch, Levels, Method, Settings
from medscan.methods.registry import METHODS, System, build, settings_of, system_of

__all__ = [
    "METHODS",
    "Batch",
    "Levels",
    "Method",
    "Settings",
    "System",
    "build",
    "settings_of",
    "system_of",
]
