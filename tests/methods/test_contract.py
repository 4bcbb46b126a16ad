"""What holds for every method alike."""

import pytest
import torch

from medscan import choices
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.fitting import FitOptions, fit
from medscan.methods import METHODS, build, settings_of
from medscan.report.colours import UNBOUNDED
from medscan.shots import read_items
from tests import tiny

SHORT = {"epochs": 1}


@pytest.fixture(scope="module")
def fitted(backbone_folder, pictures, tmp_path_factory):
    """Every method fitted on the same few shots: name -> (detector, method, file)."""
    folder = tmp_path_factory.mktemp("fitted")
    found = {}
    for name in METHODS:
        learns = settings_of(name).epochs > 0
        options = FitOptions(
            shots=3,
            method=name,
            backbone=f"local-dir:{backbone_folder}",
            organ="Brain",
            folds=2,
            settings=SHORT if learns else {},
        )
        detector, method = fit(pictures, options)
        path = folder / f"{name}.safetensors"
        found[name] = (detector.save(path, method), method, path)
    return found


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", METHODS)
def test_a_score_depends_on_no_other_image(fitted, name):
    method = fitted[name][1]
    together, maps = method.predict(images(5))
    assert together.shape == (5,)
    assert maps.shape == (5, 4, 4)
    for i in range(5):
        alone, grid = method.predict(images(5)[i : i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-5)
        assert torch.allclose(grid[0], maps[i], atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_patch_scores_end_at_one_unless_the_colour_scale_knows_better(fitted, name):
    assert name in UNBOUNDED or fitted[name][1].predict(images(5))[1].max() <= 1
    assert set(UNBOUNDED) <= METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_detector_scores_as_the_fitted_one(fitted, name, backbone):
    detector, method, path = fitted[name]
    assert isinstance(detector, Detector)
    again = detector.load_method(path, backbone)
    for found, wanted in zip(again.predict(images(3)), method.predict(images(3)), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", METHODS)
def test_one_seed_gives_one_detector_bit_for_bit(fitted, name, pictures, tmp_path):
    detector, _, path = fitted[name]
    options = FitOptions(
        shots=3,
        method=name,
        backbone=detector.backbone,
        organ="Brain",
        folds=2,
        settings=SHORT if settings_of(name).epochs else {},
    )
    again, method = fit(pictures, options)
    again.save(tmp_path / path.name, method)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", METHODS)
def test_a_lesion_raises_the_score_of_trained_methods_or_at_least_changes_it(fitted, name):
    method = fitted[name][1]
    plain = images(1) * 0.2
    marked = plain.clone()
    marked[:, :, 20:40, 20:40] = 1.0
    assert not torch.equal(method.predict(plain)[0], method.predict(marked)[0])


@pytest.mark.parametrize("name", METHODS)
def test_the_frozen_tower_stays_frozen_and_unsaved(fitted, name):
    _, method, path = fitted[name]
    assert not any(p.requires_grad for p in method.backbone.model.parameters())
    assert path.stat().st_size < 2_000_000
    assert not any("resblocks" in key for key in method.state_dict())


@pytest.mark.parametrize("name", METHODS)
def test_paper_and_clean_settings_build(backbone, name):
    for protocol in ("clean", "paper"):
        settings = settings_of(name, protocol, size=None)
        for masked in (True, False):
            assert build(name, backbone, "Brain", settings, masked=masked).name == name


@pytest.mark.parametrize("name", METHODS)
def test_the_published_procedure_gives_maps_of_full_size(fitted, name):
    method = fitted[name][1]
    with torch.inference_mode():
        found = method.published(method(method.prepare(images(2))), 64)
    assert all(m.shape == (2, 64, 64) for m in found.maps)
    assert all(s.shape == (2,) for s in found.scores)


@pytest.mark.parametrize("name", [n for n, s in METHODS.items() if s.zero_shot is not None])
def test_learning_from_other_organs(tmp_path, backbone_folder, name):
    masked = tiny.write_pictures(tmp_path / "masked", patients=3)
    plain = tiny.write_pictures(tmp_path / "plain", patients=3, masks=False)
    options = FitOptions(
        method=name,
        backbone=f"local-dir:{backbone_folder}",
        organ="Liver",
        zero_shot=True,
        source_organs=("Brain", "Chest X-ray film"),
        settings=SHORT if settings_of(name).epochs else {},
    )
    detector, method = fit([masked, plain], options)
    assert not detector.calibration.normals  # other organs' normals say nothing of the liver's
    path = tmp_path / "zero.safetensors"
    detector.save(path, method)
    again = detector.load_method(path, method.backbone)
    assert torch.equal(again.predict(images(2))[0], method.predict(images(2))[0])
    if settings_of(name).epochs:
        assert len(detector.shots["normal"]) == 6
        assert detector.shots["normal"][0].split("/")[0] == "masked"


def test_normals_alone_are_enough_for_the_memory(tmp_path, backbone_folder):
    data = tiny.write_pictures(tmp_path, patients=4)
    for path in (data / "abnormal").iterdir():
        path.unlink()
    options = FitOptions(
        shots=4, method="patchcore", backbone=f"local-dir:{backbone_folder}", folds=2
    )
    detector, method = fit(data, options)
    assert detector.shots["abnormal"] == []
    assert len(detector.calibration.normals) == 4
    remembered = {item.name for item in read_items(data)}
    assert set(detector.shots["normal"]) == remembered
    assert method.bank.rows.shape[0] == 2


def test_a_remembered_image_is_nearer_than_another(backbone):
    settings = settings_of("patchcore", bank_rows=0)
    method = build("patchcore", backbone, "Brain", settings, masked=False).eval()
    method.remember([method.prepare(images(3, 1))], torch.arange(3))
    known, _ = method.predict(images(3, 1))
    other, _ = method.predict(images(3, 2))
    assert known.max() < other.min()


def test_clip_needs_no_images_at_all(backbone_folder):
    options = FitOptions(method="clip", backbone=f"local-dir:{backbone_folder}", organ="Brain")
    detector, method = fit([], options)
    assert detector.shots == {"normal": [], "abnormal": []}
    score, grid = method.predict(images(2))
    assert ((score >= 0) & (score <= 1)).all()
    assert ((grid >= 0) & (grid <= 1)).all()


def test_clip_scores_by_the_ensemble_of_sentences(backbone):
    from medscan.parts import prompts

    method = build("clip", backbone, "Brain", settings_of("clip", windows=1), masked=False).eval()
    score, grid = method.predict(images(2))
    with torch.inference_mode():
        image = backbone.features(backbone.normalise(images(2)), pooled=True).pooled
        unit = torch.nn.functional.normalize(image, dim=-1)
        logits = backbone.logit_scale * unit @ prompts.ensemble(backbone, "Brain").t()
    assert torch.allclose(score, logits.softmax(-1)[:, 1], atol=1e-5)
    assert grid.shape == (2, 4, 4)


def test_windows_cover_every_patch_evenly():
    from medscan.parts.scoring import window_means

    same = torch.ones(1, 5, 4, 4)
    for side in (1, 2, 3, 4, 9):
        found = window_means(same, side)
        assert torch.allclose(found, found[:, :1].expand_as(found), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("clip", "windows", 0),
        ("patchcore", "neighbourhood", 0),
        ("cocoop", "context", 0),
        ("conrad", "depth", 0),
        ("mvfa", "size", True),
        ("mvfa", "quick_gelu", 5),
    ],
)
def test_a_value_that_cannot_work_is_refused(name, setting, value):
    with pytest.raises(UsageError, match="does not fit"):
        settings_of(name, **{setting: value})


def test_detectors_may_name_every_method():
    assert set(choices.METHODS) == METHODS.keys()
