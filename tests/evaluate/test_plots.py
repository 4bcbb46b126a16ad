"""Plots show what the figures say."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from medscan.choices import PlotFormat
from medscan.errors import UsageError
from medscan.evaluate import Comparison, write_plots
from medscan.evaluate.figures import figures
from medscan.normals import Calibration

KNOWN = Calibration(tuple(np.linspace(0.1, 0.5, 19).tolist()), 0.45, 0.05, True, 0.0, 1.0)
NONE = Calibration((), math.nan, 0.05, True, 0.0, 1.0)


@dataclass
class Detector:
    name: str = "a"
    calibration: Calibration = KNOWN


@pytest.fixture
def measured(handmade):
    """Three detectors, of names that plotting libraries take for something else."""
    rng, found = np.random.default_rng(0), []
    labels = np.repeat([0, 1], 10)
    for spread in (0.1, 0.2, 0.4):
        scores = np.clip(0.3 + 0.3 * labels + rng.normal(size=20) * spread, 0, 1)
        rows = [
            (int(label), np.eye(4) if label else None, [score], rng.random((1, 4, 4)))
            for label, score in zip(labels, scores, strict=True)
        ]
        found.append(figures(handmade(rows), KNOWN, patch=1, draws=10))
    detectors = tuple(Detector(name) for name in ("_nolegend_", "a$b$", "\u6f22\x1b[31m"))
    return Comparison(detectors, tuple(found), ())


NAMES = ["roc", "precision-recall", "scores", "froc", "calibration"]


@pytest.mark.parametrize("kind", list(PlotFormat))
def test_plots_are_the_same_bytes_twice_and_undated(measured, tmp_path, kind):
    written = []
    for folder in ("a", "b/c"):
        paths = write_plots(measured, tmp_path / folder, kind)
        assert [p.name for p in paths] == [f"{name}.{kind}" for name in NAMES]
        assert {p.name for p in (tmp_path / folder).iterdir()} == {p.name for p in paths}
        written.append([p.read_bytes() for p in paths])
    assert written[0] == written[1]
    if kind is PlotFormat.SVG:
        assert all(text.startswith(b"<?xml") for text in written[0])
        assert all(b"<dc:date>" not in text for text in written[0])
    else:
        with Image.open(paths[0]) as image:
            assert image.format == "PNG"
            assert min(image.size) > 600


@pytest.fixture
def drawn(monkeypatch):
    """Every curve, as (x, y, options)."""
    from matplotlib.axes import Axes

    curves, plot = [], Axes.plot

    def kept(self, x, y, *words, **options):
        curves.append((np.array(x), np.array(y), options))
        return plot(self, x, y, *words, **options)

    monkeypatch.setattr(Axes, "plot", kept)
    return curves


def test_the_curves_enclose_the_figures(measured, tmp_path, drawn):
    write_plots(measured, tmp_path)
    by_label = {options.get("label"): (x, y, options) for x, y, options in drawn}
    for found, name in zip(measured.evaluations, (" _nolegend_", "a$b$"), strict=False):
        area, precision = found.slices.auroc, found.slices.average_precision
        label = f"{name}: AUROC {area.value:.3f} (95 %: {area.low:.3f} to {area.high:.3f})"
        x, y, options = by_label[label]
        assert "drawstyle" not in options
        assert np.trapezoid(y, x) == pytest.approx(area.value)
        label = next(k for k in by_label if k and k.startswith(f"{name}: AP {precision.value:.3f}"))
        x, y, options = by_label[label]
        # "post" holds a value until the next point; recall falls from 1 to 0.
        assert options["drawstyle"] == "steps-post"
        assert np.sum((x[:-1] - x[1:]) * y[:-1]) == pytest.approx(precision.value)
    names = [label for label in by_label if label and label.startswith("a$b$: mean")]
    assert f"{measured.evaluations[1].lesions.mean.value:.3f}" in names[0]


def test_calibration_shows_the_share_of_flagged_normals(measured, tmp_path, drawn):
    write_plots(measured, tmp_path)
    x, y, _ = next(c for c in drawn if c[2].get("label") == "a$b$: 19 normals in its calibration")
    scores = np.array([r.score for r in measured.evaluations[1].rows if not r.label])
    for rate in (0.05, 0.2, 0.5):
        threshold = KNOWN.at_rate(rate).threshold
        assert y[np.searchsorted(x, rate - 1e-9)] == pytest.approx(np.mean(scores >= threshold))
    dots = [(x, y) for x, y, _ in drawn if len(x) == 1 and x[0] == 0.05]
    assert dots[1][1][0] == np.mean(scores >= 0.45)


def test_lines_differ_in_colour_and_in_style(measured, tmp_path, drawn):
    write_plots(measured, tmp_path)
    lines = [o for _, _, o in drawn if "AUROC" in str(o.get("label"))]
    assert len({o["color"] for o in lines}) == len({o["linestyle"] for o in lines}) == 3


def test_what_is_not_known_is_not_plotted(measured, handmade, tmp_path):
    flat = np.zeros((1, 4, 4))
    rows = [(n % 2, None, [0.1 * n], flat) for n in range(6)]
    found = figures(handmade(rows), NONE, patch=1, draws=0)
    plain = Comparison((Detector(calibration=NONE),), (found,), ())
    paths = write_plots(plain, tmp_path)
    assert [p.stem for p in paths] == ["roc", "precision-recall", "scores"]
    assert all("nan" not in p.read_text() for p in paths)


def test_one_class_has_no_curves(measured, tmp_path):
    rows = tuple(r._replace(label=1) for r in measured.evaluations[0].rows)
    alone = replace(measured, evaluations=(replace(measured.evaluations[0], rows=rows),))
    with pytest.raises(UsageError, match="one kind only"):
        write_plots(alone, tmp_path)
    assert not list(tmp_path.iterdir())
