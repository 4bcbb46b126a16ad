"""The viewer paints the colours of the scale: one score, one colour, in every study."""

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from medscan.report import write_report
from medscan.report.colours import Scale, colour_table
from tests.report import make

SHIPPED = make.DETECTOR | {"method": "madclip", "map_low": 0.042, "map_high": 0.873}
SCORES = (0.3, 0.6, 0.875, 0.93, 0.982)
"""Of all patches of a slice, between a clear colour and what a probability reaches."""


def painted(tab, folder, key):
    """Colour of the middle of each slice."""
    tab.goto((folder / "studies" / f"{key}.html").as_uri())
    tab.locator(".viewer.ready").first.wait_for()
    found = []
    for at in range(len(SCORES)):
        tab.locator("input[name=slice]").fill(str(at + 1))
        address = tab.locator(".painted .heat").evaluate("canvas => canvas.toDataURL()")
        picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        found.append(np.asarray(picture)[picture.height // 2, picture.width // 2].astype(int))
    return np.array(found)


def test_a_score_has_one_colour_and_the_highest_are_the_brightest(tab, tmp_path):
    stack = make.stack("s1", 0.9, len(SCORES) + 2)  # the first and the last show background
    levels = np.array((0, *SCORES, 0), np.float16)[:, None, None]
    flat = np.broadcast_to(levels, stack.heatmap.shape).astype(np.float16)
    hotter = flat.copy()
    hotter[-2, 0, 0] = 1.0
    studies = [
        make.study("aaa", [replace(stack, heatmap=flat)]),
        make.study("bbb", [replace(stack, heatmap=hotter)]),
    ]
    write_report([make.results(tmp_path, studies, make.run(detectors=[SHIPPED]))], tmp_path / "out")
    places = Scale.of(SHIPPED).position(levels.ravel()[1:-1])
    wanted = np.rint(colour_table() * 255)[np.rint(places * 255).astype(int)]
    for key in ("aaa", "bbb"):
        found = painted(tab, tmp_path / "out", key)
        # A canvas keeps colours multiplied by their opacity, in whole steps.
        slack = 1 + 255 / np.maximum(found[:, 3:], 1)
        assert (np.abs(found[:, :3] - wanted) <= slack).all()
        steps = np.abs(np.diff(found[2:, :3], axis=0)).max(axis=1)
        assert (steps > 40).all(), "scores above the threshold look different"
    assert places[-1] > 0.9
