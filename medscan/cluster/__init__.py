"""Studies scanned on a Ray cluster, by the pipeline of a local scan; imports Ray only when used."""

from medscan.cluster.engine import RayEngine

__all__ = ["RayEngine"]
