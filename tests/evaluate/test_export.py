import csv
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.errors import UsageError
from medscan.evaluate import Evaluation, Row, to_plain, write_csv, write_json, write_plots
from medscan.metrics import image_figures


def evaluation(labels=(0, 1, 0, 1), scores=(0.1, 0.9, 0.5, 0.4), names="abcd", draws=20):
    slices = image_figures(labels, scores, list("pqrs"), draws=draws)
    rows = zip(names, "pqrs", labels, scores, strict=True)
    return Evaluation(slices, None, None, tuple(Row(*row) for row in rows))


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_cannot_be_known_is_null(fitted, tmp_path):
    found = evaluation(labels=(0, 0, 0, 0))
    assert to_plain(found)["slices"]["auroc"] == {"value": None, "low": None, "high": None}
    assert math.isnan(found.slices.auroc.value)
    write_json([(fitted[0], found)], [], {"split": "test"}, tmp_path / "all.json")
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
    write_csv([(None, evaluation(names=names))], tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["name", "label", "score"]
    assert [r[0] for r in rows[1:]] == ["'=1+1|cmd", "a\\x1b[31m\\nb", "\\udcff.png", "'@x"]
    assert [r[1:] for r in rows[1:]] == [["0", "0.1"], ["1", "0.9"], ["0", "0.5"], ["1", "0.4"]]


@given(st.text(st.characters(codec=None), max_size=30))
def test_any_name_can_be_written(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_csv([(None, evaluation(names=[name, "b", "c", "d"], draws=0))], path)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 5


def test_plots_are_the_same_bytes_twice_and_undated(tmp_path):
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths = write_plots(evaluation(), tmp_path / name)
        assert [p.name for p in paths] == ["roc.svg", "precision-recall.svg"]
        written.append([p.read_bytes() for p in paths])
    assert written[0] == written[1]
    assert all(text.startswith(b"<?xml") for text in written[0])
    assert all(b"<dc:date>" not in text for text in written[0])
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"roc.svg", "precision-recall.svg"}


def test_the_curves_enclose_the_figures(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    plot = Axes.plot

    def kept(self, x, y, *words, **options):
        drawn.append((list(x), list(y), options.get("drawstyle")))
        return plot(self, x, y, *words, **options)

    monkeypatch.setattr(Axes, "plot", kept)
    found = evaluation(labels=(0, 1, 1, 1), scores=(0.5, 0.9, 0.5, 0.2))
    write_plots(found, tmp_path)
    _, (x, y, style), (recall, precision, steps) = drawn
    area = sum((b - a) * (c + d) / 2 for a, b, c, d in zip(x, x[1:], y, y[1:], strict=False))
    assert style is None
    assert area == pytest.approx(found.slices.auroc.value)
    # "post" holds a value until the next point; recall falls from 1 to 0.
    assert steps == "steps-post"
    pairs = zip(recall, recall[1:], precision, strict=False)
    area = sum((high - low) * value for high, low, value in pairs)
    assert area == pytest.approx(found.slices.average_precision.value)


def test_one_class_has_no_curves(tmp_path):
    with pytest.raises(UsageError, match="one kind only"):
        write_plots(evaluation(labels=(1, 1, 1, 1)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_plots_without_intervals(tmp_path):
    text = write_plots(evaluation(draws=0), tmp_path)[0].read_text()
    assert "nan" not in text
