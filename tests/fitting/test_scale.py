import pytest
import torch

from medscan.fitting.calibrate import calibrate
from medscan.fitting.scale import Scale
from medscan.fitting.train import prepare, remember, train
from medscan.methods import build, settings_of
from medscan.shots import load_items, read_items

LABELS = torch.tensor([0.0] * 8 + [1.0] * 8)


def drawn(seed, factor=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, generator=generator, dtype=torch.float64) + 3 * LABELS


def test_a_model_that_is_surer_of_everything_is_brought_to_the_others_scale():
    odds = drawn(0)
    ours, theirs = odds.sigmoid(), (2.5 * odds - 1).sigmoid()
    scale = Scale.between(theirs, ours, LABELS)
    unseen = drawn(1)
    assert scale((2.5 * unseen - 1).sigmoid()).tolist() == pytest.approx(unseen.sigmoid().tolist())


def test_scores_without_bounds_are_brought_to_it_as_they_are():
    ours = drawn(0)
    scale = Scale.between(10 * ours + 7, ours, LABELS)
    assert scale(10 * ours + 7).tolist() == pytest.approx(ours.tolist(), abs=1e-6)


def test_models_that_separate_nothing_only_move():
    ours = torch.linspace(-1, 1, 16)
    scale = Scale.between(ours + 2, ours.flip(0), LABELS)
    assert (scale.factor, scale.bounded) == (1.0, False)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_certain_scores_stay_finite(value):
    scale = Scale.between(torch.full((16,), value), torch.full((16,), 0.5), LABELS)
    assert torch.isfinite(scale(torch.tensor([0.0, 0.5, 1.0]))).all()


def test_calibration_does_not_depend_on_how_sure_the_models_of_the_folds_are(pictures, backbone):
    shots = load_items(read_items(pictures), size=64, window="auto", plane=None)
    settings = settings_of("mvfa", epochs=4, bank_rows=16)

    def fresh(factor=1.0, shift=0.0):
        torch.manual_seed(0)
        method = build("mvfa", backbone, "Brain", settings, masked=True)
        plain = method.score

        def score(levels):
            scores, maps = plain(levels)
            return (factor * scores.double().logit() + shift).sigmoid(), maps

        method.score = score
        return method

    final = fresh()
    data = prepare(final, shots, 0)
    train(final, data, 0)
    remember(final, data)

    def normals(*line):
        found = calibrate(lambda: fresh(*line), data, folds=2, target_fpr=0.1, seed=0, final=final)
        return found.normals

    assert normals(1.5, 0.5) == pytest.approx(normals(), abs=1e-4)
