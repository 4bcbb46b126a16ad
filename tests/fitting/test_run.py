"""What is refused before shots are drawn, which takes minutes."""

import pytest

from medscan.errors import UsageError
from medscan.fitting import FitOptions, fit, load_backbone
from medscan.methods import settings_of


def test_a_tower_that_cannot_leave_attention_out_is_refused(backbone, monkeypatch):
    monkeypatch.setattr(type(backbone._tower), "skips_attention", False, raising=False)
    monkeypatch.setattr("medscan.clip.load", lambda *_, **__: backbone)
    options = FitOptions(method="medvmad")
    assert load_backbone(options, settings_of("medvmad")) is backbone
    with pytest.raises(UsageError, match=r"medvmad needs .* has blocks of another kind"):
        load_backbone(options, settings_of("medvmad", attend=False))


@pytest.mark.parametrize("folds", [1, -1])
def test_one_fold_cannot_calibrate(pictures, folds):
    with pytest.raises(
        UsageError, match=f"--folds {folds}: choose 2 or more, or 0 not to calibrate"
    ):
        fit(pictures, FitOptions(folds=folds))
