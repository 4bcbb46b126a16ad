"""Results of an archive as a scan leaves them, with scores and maps made by code."""

import dataclasses

import numpy as np

from medscan import archive
from medscan.choices import Plane
from medscan.imaging import Letterbox
from tests.report import make

FACTS = ("rows", "columns")
LISTS = ("orientation", "pixel_spacing", "origin", "last", "qform", "sform", "form_codes")


def result_of(series, stack, *, size=96, grid=12, peak=0.9, **changes):
    """A stack's result: its real geometry, and a hot spot."""
    facts = {name: getattr(stack, name) for name in FACTS}
    facts |= {name: list(getattr(stack, name) or ()) for name in LISTS}
    facts |= {"kind": str(stack.kind), "plane": str(stack.plane or "")}
    facts |= {"slice_spacing": stack.slice_spacing or float("nan"), "notes": list(stack.notes)}
    facts |= {"SeriesInstanceUID": series.uid, "modality": series.modality or "MR"}
    count = len(stack.frames)
    made = make.stack(stack.key, peak, count, pictures=0, size=size, grid=grid, **facts | changes)
    made.info["thumbnails"] = "not asked for"
    to_pixel = Letterbox.of(stack, size).grid_to_pixel(size // grid)
    places = [np.nan if f.position_mm is None else f.position_mm for f in stack.frames]
    return dataclasses.replace(
        made,
        path=[frame.file.path for frame in stack.frames],
        sop_instance_uid=[frame.sop_instance_uid for frame in stack.frames],
        frame=np.array([frame.index for frame in stack.frames], np.int32),
        position_mm=np.array(places),
        grid_to_pixel=np.repeat(to_pixel[None], count, 0),
    )


def studies_of(root, plane=Plane.AXIAL, **changes):
    """Studies of results of everything below a folder."""
    return [
        make.study(
            study.key,
            [result_of(s, stack, **changes) for s in study.series for stack in s.stacks],
        )
        for study in archive.index([root], plane=plane).studies
    ]
