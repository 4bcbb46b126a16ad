"""Files and names from elsewhere -> backbones on this machine, each checked before it is kept."""

from medscan.backbones.fetch import import_file, pull, verify

__all__ = ["import_file", "pull", "verify"]
