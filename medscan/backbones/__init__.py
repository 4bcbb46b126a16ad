"""Files and names from elsewhere -> backbones on this machine, each checked before it is kept.

Names that need torch are imported on first use, so that listing what there is does not load torch.
"""

from typing import TYPE_CHECKING, Any

from medscan.backbones.available import (
    COLUMNS,
    VISION_METHODS,
    available,
    available_lines,
    licence_of,
)

if TYPE_CHECKING:
    from medscan.backbones.check import check_backbone, intermediates
    from medscan.backbones.fetch import import_file, pull, verify

__all__ = [
    "COLUMNS",
    "VISION_METHODS",
    "available",
    "available_lines",
    "check_backbone",
    "import_file",
    "intermediates",
    "licence_of",
    "pull",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from medscan.backbones import check, fetch

    return getattr(check if hasattr(check, name) else fetch, name)
