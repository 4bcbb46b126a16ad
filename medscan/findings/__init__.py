"""Scores and regions of a stack -> measurement groups of a Structured Report."""

from medscan.findings.groups import Algorithm, Group, Image, region_group, slice_group, stack_group

__all__ = ["Algorithm", "Group", "Image", "region_group", "slice_group", "stack_group"]
