"""Slices and prompts -> tokens of a frozen CLIP at chosen blocks.

What needs torch is imported when it is asked for: to look at the weights on this machine does not.
"""

from typing import TYPE_CHECKING, Any

from medscan.clip.store import DEFAULT, bundles, find, load, shipped

if TYPE_CHECKING:
    from medscan.clip.backbone import Backbone, Features, Hook, Prompts

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from medscan.clip import backbone

    return getattr(backbone, name)
