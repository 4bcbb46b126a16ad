from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from medscan import archive, demo, results
from medscan import detector as detectors
from medscan.demo.phantom import SHAPE, SPACING
from medscan.scanning import scan
from tests.options import scan_options

HEADS = 5


def test_the_series_is_read_as_it_was_drawn(tmp_path):
    head = demo.draw_head(1)
    demo.write_series(head, tmp_path, "a head")
    (study,) = archive.index([tmp_path]).studies
    (series,) = study.series
    (stack,) = series.stacks
    assert (series.modality, series.body_part, stack.plane) == ("MR", "BRAIN", "axial")
    assert "FLAIR" in series.description
    assert len(stack.frames) == SHAPE[2]
    assert (*stack.pixel_spacing, stack.slice_spacing) == pytest.approx(
        (SPACING[1], SPACING[0], SPACING[2])
    )


def test_a_file_that_is_there_stays_and_a_missing_one_comes_back_the_same(tmp_path):
    head = demo.draw_head(1)
    demo.write_series(head, tmp_path, "a head")
    kept, lost = tmp_path / "001.dcm", tmp_path / "002.dcm"
    before, content = kept.stat(), lost.read_bytes()
    lost.unlink()
    demo.write_series(head, tmp_path, "a head")
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert lost.read_bytes() == content


def test_what_is_gathered_is_there(tmp_path):
    roots = demo.gather(tmp_path, demo.draw_head(0))
    assert len(roots) == 3
    assert all(root.exists() for root in roots)
    assert len(list(roots[0].glob("phantom/*.dcm"))) == SHAPE[2]


def _hottest_is_inside(study, lesion):
    """Whether the patches where the map is largest (it is cut at 1: several) are of the lesion."""
    (stack,) = study.stacks
    inside = []
    for index, row, column in np.argwhere(stack.heatmap == stack.heatmap.max()):
        x, y = np.rint(stack.grid_to_pixel[index] @ (column, row, 1)).astype(int)
        inside.append(lesion[x, y, index])
    return np.mean(inside) > 0.5


def test_the_shipped_detector_is_hottest_inside_the_lesion(tmp_path):
    lesions = {}
    for seed in range(HEADS):
        head = demo.draw_head(seed)
        folder = tmp_path / "archive" / str(seed)
        folder.mkdir(parents=True)
        demo.write_series(head, folder, f"head {seed}")
        lesions[generate_uid(entropy_srcs=[f"head {seed}", "study"])] = head.lesion
    path = detectors.find(Path("brain-flair"))
    options = scan_options(
        roots=(tmp_path / "archive",),
        out=tmp_path / "r.h5",
        detectors=((path, detectors.read(path)),),
        named=False,
    )
    assert scan(options).flagged == HEADS
    studies = list(results.open(options.outputs.out).studies())
    found = [_hottest_is_inside(s, lesions[s.info["StudyInstanceUID"]]) for s in studies]
    assert len(found) == HEADS
    assert sum(found) >= 0.9 * HEADS
