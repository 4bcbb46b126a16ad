import csv
import json
import math
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from medscan.evaluate import (
    Comparison,
    Evaluation,
    Row,
    Stratum,
    compare,
    to_plain,
    write_csv,
    write_json,
    write_tables,
)
from medscan.metrics import Estimate, image_figures
from medscan.normals import Calibration

NONE = Calibration((), math.nan, 0.05, True, 0.0, 1.0)


def evaluation(labels=(0, 1, 0, 1), scores=(0.1, 0.9, 0.5, 0.4), names="abcd", draws=20):
    slices = image_figures(labels, scores, list("pqrs"), draws=draws)
    rows = zip(names, "pqrs", labels, scores, strict=True)
    return Evaluation(slices, None, None, tuple(Row(*row) for row in rows))


def measured(*found, detectors=None):
    named = detectors or [Detector() for _ in found]
    return Comparison(tuple(named), found, compare(found, 5))


@dataclass
class Detector:
    """What plots and tables ask of a detector."""

    name: str = "a"
    calibration: Calibration = NONE


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_cannot_be_known_is_null(fitted, tmp_path):
    found = evaluation(labels=(0, 0, 0, 0))
    assert to_plain(found)["slices"]["auroc"] == {"value": None, "low": None, "high": None}
    assert math.isnan(found.slices.auroc.value)
    write_json(measured(found, detectors=[fitted[0]]), {"split": "test"}, tmp_path / "all.json")
    facts = strict((tmp_path / "all.json").read_text())
    assert facts["slices"]["auroc"]["value"] is None
    assert facts["slices"]["normals"] == 4
    assert facts["studies"] is facts["pixels"] is None
    assert facts["detector"]["method"] == "patchcore"
    assert facts["asked"] == {"split": "test"}
    assert "rows" not in facts


def test_infinite_figures_are_null():
    found = evaluation()
    endless = replace(found, slices=replace(found.slices, threshold=math.inf))
    assert strict(json.dumps(to_plain(endless)))["slices"]["threshold"] is None


def test_names_are_inert_in_spreadsheets(tmp_path):
    names = ["=1+1|cmd", "a\x1b[31m\nb", "\udcff.png", "@x"]
    write_csv(measured(evaluation(names=names)), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["name", "label", "score"]
    assert [r[0] for r in rows[1:]] == ["'=1+1|cmd", "a\\x1b[31m\\nb", "\\udcff.png", "'@x"]
    assert [r[1:] for r in rows[1:]] == [["0", "0.1"], ["1", "0.9"], ["0", "0.5"], ["1", "0.4"]]


@given(st.text(st.characters(codec=None), max_size=30))
def test_any_name_can_be_written(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_csv(measured(evaluation(names=[name, "b", "c", "d"], draws=0)), path)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 5


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_tables_hold_every_figure(tmp_path):
    first = evaluation()
    few = Stratum("Vendor", "=A", 2, 2, 4, *[Estimate(math.nan, math.nan, math.nan)] * 3)
    second = replace(evaluation(scores=(0.2, 0.1, 0.3, 0.4)), strata=(few,))
    detectors = [Detector("a"), Detector("=b")]
    paths = write_tables(measured(first, second, detectors=detectors), tmp_path / "new" / "tables")
    assert [path.name for path in paths] == ["figures.csv", "strata.csv", "differences.csv"]
    figures, strata, differences = map(read, paths)
    assert {row["detector"] for row in figures} == {"a", "'=b"}
    area = next(row for row in figures if row["figure"] == "auroc")
    assert float(area["value"]) == first.slices.auroc.value
    assert float(area["high"]) == first.slices.auroc.high
    assert [row["figure"] for row in strata] == ["auroc", "sensitivity", "specificity"]
    assert (strata[0]["stratum"], strata[0]["value"]) == ("'=A", "")
    gap = next(row for row in differences if row["figure"] == "auroc")
    assert float(gap["value"]) == first.slices.auroc.value - second.slices.auroc.value
    assert 0 <= float(gap["p"]) <= 1
    assert [p.name for p in write_tables(measured(first), tmp_path)] == ["figures.csv"]
