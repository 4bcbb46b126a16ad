"""What was measured not to work is said before it is fitted, once and with its figure."""

import json

import pytest

from medscan.detector import Domain
from medscan.fitting import FitOptions
from medscan.fitting.doubts import doubts
from tests.tiny import write_backbone


def said(method, organ="organ", modality="", **changes):
    domain = Domain(modality=modality)
    return list(doubts(FitOptions(method=method, organ=organ, domain=domain, **changes)))


@pytest.mark.parametrize("method", ["clip", "conrad", "cocoop"])
def test_prompts_of_what_the_text_never_saw(method):
    (doubt,) = said(method, "Knee")
    for word in (method, "Knee", "breast, chest, lung", "0.41 to 0.49", "another method"):
        assert word in doubt
    assert "\n" not in doubt
    assert said(method, "Breast ultrasound") == said(method, "Lung CT") == []


@pytest.mark.parametrize("method", ["discriminant", "mvfa", "madclip", "medvmad", "patchcore"])
def test_methods_that_learn_from_images_are_not_doubted_for_an_organ(method):
    assert said(method, "Knee") == []


@pytest.mark.parametrize(("organ", "modality"), [("Chest X-ray film", ""), ("Chest", "DX")])
def test_a_memory_of_radiographs(organ, modality):
    (doubt,) = said("patchcore", organ, modality)
    assert "0.57" in doubt
    assert "0.84" in doubt
    assert said("discriminant", organ, modality) == said("patchcore", "Lung CT", "CT") == []


def test_a_backbone_that_says_nothing_of_its_captions_is_not_doubted(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSCAN_WEIGHTS", str(tmp_path))
    folder = write_backbone(tmp_path / "tiny")
    assert said("clip", "Knee", backbone="tiny") == []
    (folder / "medscan.json").write_text(json.dumps({"captions": ["kn"], "auroc_elsewhere": "0.5"}))
    assert said("clip", "Knee", backbone="tiny") == []
    (doubt,) = said("clip", "Head", backbone="tiny")
    assert "knows kn, not Head" in doubt
