"""Frames -> slices: oriented, windowed, letterboxed images with their geometry."""

from medscan.decoding import PixelPlane, Voi
from medscan.imaging.letterbox import Letterbox
from medscan.imaging.packed import Packed, pack
from medscan.imaging.read import KeptPlanes, read_mask, read_planes
from medscan.imaging.render import render, render_plane
from medscan.imaging.types import Affine2D, Slice, Window
from medscan.imaging.window import (
    Rule,
    apply_window,
    is_background,
    measure,
    measure_planes,
    parse_rule,
    show,
)

__all__ = [
    "Affine2D",
    "KeptPlanes",
    "Letterbox",
    "Packed",
    "PixelPlane",
    "Rule",
    "Slice",
    "Voi",
    "Window",
    "apply_window",
    "is_background",
    "measure",
    "measure_planes",
    "pack",
    "parse_rule",
    "read_mask",
    "read_planes",
    "render",
    "render_plane",
    "show",
]
