"""Slices and prompts -> tokens of a frozen CLIP at chosen blocks."""

from medscan.clip.backbone import Backbone, Features, Hook, Prompts
from medscan.clip.store import DEFAULT, bundles, find, load, shipped

__all__ = [
    "DEFAULT",
    "Backbone",
    "Features",
    "Hook",
    "Prompts",
    "bundles",
    "find",
    "load",
    "shipped",
]
