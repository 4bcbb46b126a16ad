"""Ranks and paired differences of the methods of a suite."""

import csv
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medscan.evaluate import Row
from medscan.suites import Suite, gaps_of, ranks, standing_tables, standings_of, write_gaps
from medscan.suites.declare import DataSet
from medscan.suites.ranks import items_of

SETS = (DataSet("a", Path("a"), "Brain"), DataSet("=b", Path("b"), "Liver"))
SUITE = Suite(("mvfa", "clip"), SETS, shots=(4,), seeds=(0, 1), baselines=("knn",))
SKILL = {"mvfa": 2.0, "clip": 0.2, "knn": 1.0}


def record(data, method, seed, rows, shots=4):
    cell = {"data": {"name": data}, "method": method, "shots": shots, "seed": seed}
    return {"cell": cell, "items": items_of(rows)}


@pytest.fixture(scope="module")
def rows():
    """Rows of every cell: 20 patients with two slices each, in two data sets."""
    rng, found = np.random.default_rng(0), {}
    for data in ("a", "=b"):
        labels = np.repeat(rng.permutation([0, 1] * 10), 2)
        for method, skill in SKILL.items():
            for seed in (0, 1):
                scores = rng.normal(size=40) + skill * labels
                found[data, method, seed] = [
                    Row(f"s{n}", f"p{n // 2}", int(label), float(score))
                    for n, (label, score) in enumerate(zip(labels, scores, strict=True))
                ]
    return found


@pytest.fixture(scope="module")
def records(rows):
    return [record(*key, members) for key, members in rows.items()]


def area(rows):
    return roc_auc_score([r.label for r in rows], [r.score for r in rows])


def test_differences_are_means_over_seeds_and_sets(rows, records):
    gaps = {(g.data, g.first, g.second): g.value for g in gaps_of(SUITE, records)}
    assert len(gaps) == 3 * 3
    for data in ("a", "=b"):
        known = [area(rows[data, "mvfa", s]) - area(rows[data, "clip", s]) for s in (0, 1)]
        gap = gaps[data, "mvfa", "clip"]
        assert gap.value == pytest.approx(np.mean(known))
        assert 0 < gap.low < gap.value < gap.high
    both = gaps["", "mvfa", "clip"]
    assert both.value == pytest.approx(
        np.mean([gaps[data, "mvfa", "clip"].value for data in ("a", "=b")])
    )
    alone = gaps["a", "mvfa", "clip"]
    assert both.high - both.low < alone.high - alone.low


def test_intervals_are_of_redrawn_patients(rows, records, monkeypatch):
    monkeypatch.setattr(ranks, "DRAWS", 20)
    gaps = {(g.data, g.first, g.second): g.value for g in gaps_of(SUITE, records)}
    rng, drawn = np.random.default_rng(0), []  # the first data set has seed 0
    names = sorted(f"p{n}" for n in range(20))
    for _ in range(20):
        numbers = [int(names[i][1:]) for i in rng.integers(20, size=20)]
        items = [2 * n + k for n in numbers for k in (0, 1)]
        areas = [
            np.mean([area([rows["a", method, s][i] for i in items]) for s in (0, 1)])
            for method in ("mvfa", "knn")
        ]
        drawn.append(areas[0] - areas[1])
    gap = gaps["a", "mvfa", "knn"]
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([gap.low, gap.high])


def test_standings_are_sorted_by_mean_rank(rows, records):
    standings = standings_of(SUITE, records)
    assert [s.method for s in standings] == ["mvfa", "knn", "clip"]
    assert [s.rank for s in standings] == [1, 2, 3]
    first, second, _ = standings
    assert (first.sets, first.shots) == (2, 4)
    assert first.auroc == pytest.approx(
        np.mean([area(rows[d, "mvfa", s]) for d in ("a", "=b") for s in (0, 1)])
    )
    assert math.isnan(first.gap.value)
    assert second.gap.value == pytest.approx(second.auroc - first.auroc)
    [(title, table)] = standing_tables(SUITE, standings)
    assert title == "4 shots, mean over 2 data sets, 95 % by patient"
    assert table[0][4] == "minus mvfa"
    assert table[1] == ["mvfa", "2", "1.0", f"{first.auroc:.3f}", "", "", ""]
    assert table[2][4].startswith("-")


def test_equal_methods_share_a_rank(rows):
    equal = [record("a", m, s, rows["a", "mvfa", s]) for m in ("mvfa", "clip") for s in (0, 1)]
    assert [s.rank for s in standings_of(SUITE, equal)] == [1.5, 1.5]
    assert {g.value.high for g in gaps_of(SUITE, equal)} == {0}


def test_what_is_not_whole_is_not_compared(rows, caplog):
    half = [record("a", "mvfa", s, rows["a", "mvfa", s]) for s in (0, 1)]
    half.append(record("a", "clip", 0, rows["a", "clip", 0]))
    assert gaps_of(SUITE, half) == []
    assert [s.method for s in standings_of(SUITE, half)] == ["mvfa"]
    fewer = [record("a", "clip", s, rows["a", "clip", s][2:]) for s in (0, 1)]
    three = [record("a", "knn", s, rows["a", "knn", s]) for s in (0, 1)]
    with caplog.at_level(logging.WARNING, "medscan.suites"):
        found = gaps_of(SUITE, [*half[:2], *fewer, *three])
    assert [(g.first, g.second) for g in found] == [("mvfa", "knn")]
    assert "clip saw other slices" in caplog.text


def test_one_label_or_one_patient_has_no_interval(rows):
    one_label = [[r._replace(label=0) for r in rows["a", "mvfa", s]] for s in (0, 1)]
    found = [record("a", m, s, one_label[s]) for m in ("mvfa", "clip") for s in (0, 1)]
    assert standings_of(SUITE, found) == []
    one = [[r._replace(patient="p") for r in rows["a", "mvfa", s]] for s in (0, 1)]
    found = [record("a", m, s, one[s]) for m in ("mvfa", "clip") for s in (0, 1)]
    [gap] = gaps_of(SUITE, found)
    assert gap.value.value == 0
    assert math.isnan(gap.value.low)


def test_differences_as_csv(records, tmp_path):
    write_gaps(gaps_of(SUITE, records), tmp_path / "d.csv")
    with (tmp_path / "d.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert list(found[0]) == ["data", "shots", "first", "second", "difference", "low", "high"]
    assert {row["data"] for row in found} == {"a", "'=b", ""}


def test_a_record_names_nobody(rows):
    text = str(items_of(rows["a", "mvfa", 0]))
    assert "p1" not in text
    assert "s1" not in text.replace("names_sha256", "")
