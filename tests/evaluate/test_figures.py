import math

import numpy as np
import pytest
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch import from_numpy

from medscan.evaluate.figures import Fused, figures
from medscan.evaluate.observe import observe
from medscan.metrics import PixelCurves
from medscan.normals import Calibration
from medscan.scoring import aggregate, stack_calibration

NONE = Calibration((), math.nan, 0.05, True, 0.0, 1.0)
MAP = np.zeros((1, 4, 4))


@pytest.fixture(scope="module")
def seen(fitted, slices):
    return observe(fitted[1], slices, published=False)


def test_clean_figures_are_those_of_a_plain_computation(fitted, slices, seen):
    detector, method = fitted
    found = figures(seen, detector.calibration, patch=16, draws=20)
    labels = [s.item.label for s in slices]
    pairs = [method.predict(from_numpy(np.array(s.image))[None]) for s in slices]
    scores = np.array([float(score) for score, _ in pairs])
    np.testing.assert_allclose([r[3] for r in found.rows], scores, rtol=1e-5)
    scores = np.array([r[3] for r in found.rows])
    assert found.slices.auroc.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.slices.average_precision.value == pytest.approx(
        average_precision_score(labels, scores)
    )
    best = max(f1_score(labels, scores >= end) for end in scores)
    assert found.slices.f1_max.value == pytest.approx(best)
    flagged = scores >= detector.calibration.threshold
    assert found.slices.sensitivity.value == np.mean(flagged[np.array(labels) == 1])
    assert found.slices.specificity.value == np.mean(~flagged[np.array(labels) == 0])
    assert (found.slices.normals, found.slices.abnormals, found.slices.patients) == (8, 8, 8)
    values, truths = [], []
    for (_, grid), one in zip(pairs, slices, strict=True):
        if one.item.label and one.mask is None:
            continue
        fine = F.interpolate(grid[None], (64, 64), mode="bilinear")[0, 0].numpy()
        mask = np.zeros((64, 64), bool) if one.mask is None else one.mask
        values.append(fine[12:52].ravel())
        truths.append(mask[12:52].ravel())
    values, truths = np.concatenate(values), np.concatenate(truths)
    assert found.pixels.slices == 15
    assert found.pixels.auroc.value == pytest.approx(roc_auc_score(truths, values), abs=1e-5)
    assert found.pixels.average_precision.value == pytest.approx(
        average_precision_score(truths, values), abs=1e-5
    )
    assert 0 <= found.pixels.aupro.value <= 1
    assert found.pixels.auroc.low <= found.pixels.auroc.value <= found.pixels.auroc.high


def test_padding_does_not_count(fitted, slices, seen):
    from medscan.evaluate.observe import Observations

    altered = Observations(seen.size)
    for truth, score, grid in zip(seen.truths, seen.scores, seen.maps(), strict=True):
        fine = F.interpolate(from_numpy(grid.copy())[None], (64, 64), mode="bilinear")[0].numpy()
        fine[:, :12] = fine[:, 52:] = 100.0 if truth.label == 0 else -100.0
        altered.add(truth, score.astype(np.float32), fine)
    found, known = (figures(s, NONE, patch=16, draws=0).pixels for s in (altered, seen))
    assert found.auroc.value == pytest.approx(known.auroc.value, abs=1e-6)
    assert found.aupro.value == pytest.approx(known.aupro.value, abs=1e-6)


def test_studies_have_the_scans_rule_and_thresholds(fitted, seen):
    calibration = fitted[0].calibration
    found = figures(seen, calibration, patch=16, draws=0)
    groups = {}
    for truth, score in zip(seen.truths, seen.scores, strict=True):
        groups.setdefault((truth.study, truth.label), []).append(float(score[0]))
    labels = [label for _, label in groups]
    scores = [aggregate(np.array(members, np.float32)) for members in groups.values()]
    end = stack_calibration(calibration, 2).threshold
    assert found.studies.auroc.value == pytest.approx(roc_auc_score(labels, scores))
    flagged = np.array(scores) >= end
    assert found.studies.sensitivity.value == np.mean(flagged[np.array(labels) == 1])
    assert found.studies.specificity.value == np.mean(~flagged[np.array(labels) == 0])
    assert (found.studies.normals, found.studies.abnormals) == (4, 4)


def test_a_study_is_abnormal_if_one_of_its_slices_is(handmade):
    rows = [(0, None, [0.1], MAP), (1, None, [0.9], MAP), (0, None, [0.2], MAP)]
    found = figures(handmade(rows, studies=("a", "a", "b")), NONE, patch=1, draws=0)
    assert (found.studies.normals, found.studies.abnormals) == (1, 1)
    assert found.studies.auroc.value == 1
    assert math.isnan(found.studies.sensitivity.value)
    assert figures(handmade(rows, studies=("a", "a", "a")), NONE, patch=1).studies is None
    assert figures(handmade(rows), NONE, patch=1, draws=0).studies is None


def test_without_masks_there_are_no_pixel_figures(handmade):
    rows = [(0, None, [0.1], MAP), (1, None, [0.9], MAP)]
    assert figures(handmade(rows), NONE, patch=1, draws=0).pixels is None


def test_an_abnormal_image_without_a_mask_is_left_out_of_pixel_figures(handmade):
    mask = np.eye(4)
    rows = [(0, None, [0.1], MAP), (1, mask, [0.9], mask[None]), (1, None, [0.5], 1 - mask[None])]
    found = figures(handmade(rows), NONE, patch=1, draws=0).pixels
    assert (found.slices, found.regions, found.auroc.value) == (2, 1, 1.0)


def test_lesions_are_those_of_the_masks(handmade):
    mask = np.zeros((4, 4))
    mask[0, 0] = mask[3, 3] = 1
    rows = [(0, None, [0.1], MAP), (1, mask, [0.9], mask[None] * 0.9), (1, None, [0.5], MAP)]
    found = figures(handmade(rows), NONE, patch=1, draws=5).lesions
    assert (found.images, found.lesions) == (2, 2)
    assert [s.value for s in found.sensitivities] == [1.0] * 7
    assert (found.mean.value, found.rates[0]) == (1.0, 0.125)
    assert figures(handmade(rows[::2]), NONE, patch=1, draws=0).lesions is None


@pytest.mark.parametrize("published", [False, True])
def test_one_class_only_has_no_figures(handmade, published):
    rows = [(0, None, [0.1], MAP), (0, np.zeros((4, 4)), [0.9], MAP)]
    found = figures(handmade(rows), NONE, patch=1, draws=5, published=published)
    assert math.isnan(found.slices.auroc.value)
    assert math.isnan(found.slices.f1_max.value)
    assert math.isnan(found.pixels.auroc.value)
    assert found.studies is None


def test_published_branches_are_scaled_each_by_the_whole_set(handmade):
    maps = np.random.default_rng(0).normal(size=(5, 2, 4, 4)) * [[[[3.0]], [[40.0]]]] + 7
    scores = np.random.default_rng(1).normal(size=(5, 2)) * [1, 100]
    masks = [None, None, np.eye(4), np.eye(4), np.eye(4)]
    rows = [(int(n > 1), masks[n], scores[n], maps[n]) for n in range(5)]
    seen = handmade(rows)
    fused = Fused(seen)

    def scaled(x, axes):
        low, high = x.min(axes, keepdims=True), x.max(axes, keepdims=True)
        return (x - low) / (high - low)

    known = scaled(maps, (0, 2, 3)).mean(1)
    np.testing.assert_allclose(list(fused.maps()), known, atol=1e-6)
    np.testing.assert_allclose(fused.scores(), scaled(scores, 0).mean(1), rtol=1e-5)
    found = figures(seen, NONE, patch=1, published=True, draws=0)
    truth = np.stack([np.zeros((4, 4)) if m is None else m for m in masks]).ravel()
    assert found.pixels.auroc.value == pytest.approx(roc_auc_score(truth, known.ravel()), abs=1e-6)


def test_published_scores_are_the_maximum_of_the_fused_map_where_there_are_none(handmade):
    maps = np.random.default_rng(0).random((4, 2, 4, 4))
    seen = handmade([(n % 2, np.eye(4), [], maps[n]) for n in range(4)])
    fused = list(Fused(seen).maps())
    np.testing.assert_allclose(Fused(seen).scores(), [f.max() for f in fused])
    found = figures(seen, NONE, patch=1, published=True, draws=0)
    assert [r[3] for r in found.rows] == [float(f.max()) for f in fused]
    assert math.isnan(found.slices.threshold)


def test_constant_published_maps_do_not_divide_by_zero(handmade):
    seen = handmade([(n, np.eye(4), [2.0], MAP + 3) for n in (0, 1)])
    assert all((f == 0).all() for f in Fused(seen).maps())
    assert Fused(seen).scores().tolist() == [0, 0]


def test_a_single_published_branch_keeps_its_order(fitted, slices):
    """MadCLIP's code: scaling one branch changes no rank figure."""
    seen = observe(fitted[1], slices, published=True)
    found = figures(seen, fitted[0].calibration, patch=16, published=True, draws=0)
    labels = [t.label for t in seen.truths]
    raw = [float(s[0]) for s in seen.scores]
    assert found.slices.auroc.value == pytest.approx(roc_auc_score(labels, raw))
    curves = PixelCurves(-100, 100)
    for truth, maps in zip(seen.truths, seen.maps(), strict=True):
        if truth.mask is not None or not truth.label:
            curves.add(maps[0], seen.mask(truth), seen.inside(truth))
    assert found.pixels.auroc.value == pytest.approx(curves.auroc(), abs=1e-5)
    assert math.isnan(found.slices.sensitivity.value)
    assert math.isnan(found.slices.calibration_error.value)
