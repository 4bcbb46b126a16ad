"""medscan: scan imaging archives with few-shot CLIP anomaly models. Research software."""

__version__ = "0.1.0"
