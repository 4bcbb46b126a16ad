"""Baselines against plain computations."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medscan.errors import UsageError
from medscan.shots import draw_shots, load_items, read_items
from medscan.suites import BASELINES, cells_of, rows_of, run_suite
from medscan.suites import run as room
from medscan.suites.baselines import NEIGHBOURS, Baseline
from medscan.suites.declare import DataSet, Suite
from tests import tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_pictures(tmp_path_factory.mktemp("sets") / "x", 4, 2, tests=3)


@pytest.fixture(scope="module")
def suite(data, backbone_folder):
    sets = (DataSet("x", data, "Brain"),)
    backbone = f"local-dir:{backbone_folder}"
    return Suite(("clip",), sets, (4,), (0,), backbone, baselines=BASELINES)


@pytest.fixture(scope="module")
def records(suite, tmp_path_factory):
    return {r["cell"]["method"]: r for r in run_suite(suite, tmp_path_factory.mktemp("out"))}


@pytest.fixture(scope="module")
def images(data):
    how = {"size": 64, "window": "auto", "plane": None}
    shots = draw_shots(read_items(data), 4, 0, **how)
    return shots, load_items(read_items(data, "test"), **how)


def test_they_are_measured_on_the_shots_and_slices_of_the_methods(suite, records):
    assert [c.method for c in cells_of(suite)] == ["clip", *BASELINES]
    items = [record["items"] for record in records.values()]
    assert all(one["names_sha256"] == items[0]["names_sha256"] for one in items)
    assert all(one["labels"] == items[0]["labels"] for one in items)
    assert records["knn"]["slices"]["auroc"]["value"] is not None
    assert records["clip"]["pixels"] is not None
    assert records["knn"]["pixels"] is None
    assert [row.method for row in rows_of(suite, records.values())] == ["clip", *BASELINES]


def test_raw_pixels_are_a_logistic_regression(records, images):
    shots, test = images

    def small(these):
        return torch.nn.functional.adaptive_avg_pool2d(these.images.mean(1), 32).flatten(1).numpy()

    scaler = StandardScaler().fit(small(shots))
    model = LogisticRegression(max_iter=1000, class_weight="balanced")
    model.fit(scaler.transform(small(shots)), shots.labels.numpy())
    known = model.decision_function(scaler.transform(small(test)))
    np.testing.assert_allclose(
        records["raw-pixels"]["items"]["scores"], known, rtol=1e-3, atol=1e-4
    )


def test_neighbours_vote_by_cosine(records, images, backbone):
    shots, test = images
    baseline = Baseline("knn", backbone)
    with torch.inference_mode():
        known, asked = (baseline.prepare(s.images).double().numpy() for s in (shots, test))
    for row, score in zip(asked, records["knn"]["items"]["scores"], strict=True):
        near = [row @ k / np.linalg.norm(row) / np.linalg.norm(k) for k in known]
        best = np.argsort(near)[::-1][:NEIGHBOURS]
        votes = [near[i] * (1 if shots.labels[i] else -1) for i in best]
        assert score == pytest.approx(sum(votes) / sum(near[i] for i in best), abs=1e-3)


@pytest.mark.parametrize("name", BASELINES)
def test_a_score_does_not_depend_on_the_batch(name, images, backbone):
    shots, test = images
    baseline = Baseline(name, backbone)
    baseline.learn(shots)
    whole = baseline.predict(test.images)[0]
    alone = torch.cat([baseline.predict(one[None])[0] for one in test.images])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)


def test_histograms_are_shares(backbone, images):
    described = Baseline("histogram", backbone).prepare(images[0].images)
    assert described.shape == (8, 64)
    torch.testing.assert_close(described.sum(1), torch.ones(8))


def test_patients_on_both_sides_are_refused(suite, monkeypatch):
    items = read_items(suite.data[0].path)
    splits = {"train": items, "test": items[:1]}
    monkeypatch.setattr(room, "read_splits", lambda _: splits)
    cell = SimpleNamespace(method="histogram", data=suite.data[0], shots=8, seed=0)
    with pytest.raises(UsageError, match="1 patients of the test split gave shots"):
        room._learn_baseline(suite, cell, "cpu")
