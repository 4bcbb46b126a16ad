"""Tokens -> anomaly map on the patch grid and image score; one module per published system."""

from medscan.methods.base import Batch, Examples, Levels, Method, Settings, Unseen
from medscan.methods.registry import METHODS, System, build, check_serves, settings_of, system_of

__all__ = [
    "METHODS",
    "Batch",
    "Examples",
    "Levels",
    "Method",
    "Settings",
    "System",
    "Unseen",
    "build",
    "check_serves",
    "settings_of",
    "system_of",
]
