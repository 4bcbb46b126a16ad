"""Files and names from elsewhere -> backbones on this machine, each checked before it is kept."""

from medscan.backbones.check import check_backbone, intermediates
from medscan.backbones.fetch import import_file, pull, verify

__all__ = ["check_backbone", "import_file", "intermediates", "pull", "verify"]
