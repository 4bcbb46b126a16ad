import csv
import math
from pathlib import Path

import pytest

from medscan.suites import FIGURES, Suite, format_figure, rows_of, write_table
from medscan.suites.declare import DataSet


def record(data, method, shots, seed, auroc, pixel=None):
    def part(value):
        names = ("auroc", "average_precision", "f1_max", "aupro")
        return {name: {"value": value, "low": None, "high": None} for name in names}

    cell = {"data": {"name": data}, "method": method, "shots": shots, "seed": seed}
    pixels = None if pixel is None else part(pixel)
    return {"cell": cell, "slices": part(auroc), "studies": None, "pixels": pixels}


@pytest.fixture
def suite():
    published = ({"data": "b", "method": "mvfa", "shots": 4, "image_auroc": 92.44, "source": "x"},)
    sets = (DataSet("b", Path("b"), "Brain", trivial=0.6), DataSet("=a", Path("a"), "Liver"))
    return Suite(("mvfa", "clip"), sets, published=published)


@pytest.fixture
def rows(suite):
    records = [record("b", "mvfa", 4, seed, v, 0.5) for seed, v in enumerate((0.7, 0.8, 0.9))]
    records += [record("b", "clip", 4, 0, 0.5), record("=a", "mvfa", 4, 0, None)]
    return rows_of(suite, records)


def test_rows_are_means_over_seeds_beside_references(rows):
    assert [(r.data, r.method, r.shots, r.draws) for r in rows] == [
        ("b", "(trivial feature)", None, 0),
        ("b", "mvfa", 4, 3),
        ("b", "(mvfa, published)", 4, 0),
        ("b", "clip", 4, 1),
        ("=a", "mvfa", 4, 1),
    ]
    trivial, mvfa, published, clip, unknown = rows
    assert trivial.mean["image_auroc"] == 0.6
    assert mvfa.mean["image_auroc"] == pytest.approx(0.8)
    assert mvfa.spread["image_auroc"] == pytest.approx(0.1)
    assert mvfa.mean["pixel_auroc"] == 0.5
    assert published.mean["image_auroc"] == pytest.approx(0.9244)
    assert math.isnan(published.mean["pixel_auroc"])
    assert math.isnan(clip.spread["image_auroc"])
    assert math.isnan(clip.mean["aupro"])
    assert all(math.isnan(v) for v in unknown.mean.values())


def test_the_table_as_csv(rows, tmp_path):
    write_table(rows, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    names = [c for name in FIGURES for c in (name, f"{name}_sd")]
    assert list(found[0]) == ["data", "method", "shots", "draws", *names]
    assert found[1]["image_auroc"] == "0.8000"
    assert found[1]["image_auroc_sd"] == "0.1000"
    assert found[0]["shots"] == ""
    assert found[0]["f1_max"] == found[3]["aupro"] == ""
    assert found[4]["data"] == "'=a"
    assert found[4]["image_auroc"] == ""


def test_figures_as_words():
    assert format_figure(0.9123, 0.0144) == "0.912±0.014"
    assert format_figure(0.9123, math.nan) == "0.912"
    assert format_figure(math.nan, math.nan) == "-"
