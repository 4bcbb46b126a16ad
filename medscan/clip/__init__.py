"""Slices and prompts -> tokens of a frozen vision transformer at chosen blocks.

Names that need torch are imported on first use, so that listing weights does not load torch.
"""

from typing import TYPE_CHECKING, Any

from medscan.clip import config, header, store
from medscan.clip.config import LARGEST_SIDE
from medscan.clip.device import choose_device, device_error, device_errors, is_gpu_full
from medscan.clip.header import Header, check_safetensors, in_order, read_header
from medscan.clip.store import DEFAULT, Bundle, bundles, find, licence_of, load, shipped

if TYPE_CHECKING:
    from medscan.clip.backbone import Backbone, Features, Hook, Need, Prompts
    from medscan.clip.linear import Linear, apply_linear, multiplying_in_bf16

__all__ = [
    "DEFAULT",
    "LARGEST_SIDE",
    "Backbone",
    "Bundle",
    "Features",
    "Header",
    "Hook",
    "Linear",
    "Need",
    "Prompts",
    "apply_linear",
    "bundles",
    "check_safetensors",
    "choose_device",
    "config",
    "device_error",
    "device_errors",
    "find",
    "header",
    "in_order",
    "is_gpu_full",
    "licence_of",
    "load",
    "multiplying_in_bf16",
    "read_header",
    "shipped",
    "store",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from medscan.clip import backbone, linear

    return getattr(linear if hasattr(linear, name) else backbone, name)
