"""The method that learns in closed form: what it is calibrated on, looks at and needs."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medscan.detector import read
from medscan.errors import DetectorError, UsageError
from medscan.fitting import FitOptions, fit
from medscan.methods import Examples, build, settings_of
from medscan.parts.fusion import auroc
from medscan.shots import read_items
from medscan.shots.shots import load_items
from tests import tiny


@pytest.fixture(scope="module")
def options(backbone_folder):
    return FitOptions(
        shots=6, method="discriminant", backbone=f"local-dir:{backbone_folder}", folds=3
    )


@pytest.fixture(scope="module")
def fitted(pictures, options):
    return fit(pictures, options)


def changed(options, **changes):
    return FitOptions(**{name: getattr(options, name) for name in options.__slots__} | changes)


def shots_of(method, data):
    items = load_items(read_items(data), size=method.backbone.size, window="auto", plane=None)
    return items.images, items.labels


def test_it_finds_lesions_and_where_they_are(fitted, options, tmp_path):
    _, method = fitted
    data = tiny.write_pictures(tmp_path, patients=12)  # the first six a label are the shots
    items = load_items(read_items(data), size=64, window="auto", plane=None)
    new = torch.tensor([int(name.split("_p")[1].split("_")[0]) > 5 for name in items.names])
    scores, maps = method.predict(items.images[new])
    labels = items.labels[new] == 1
    assert scores[labels].min() > scores[~labels].max()
    masks = torch.nn.functional.max_pool2d(items.masks[new][labels], 16) > 0
    assert auroc(maps[labels][masks], maps[labels][~masks]) > 0.8


def test_zero_and_one_of_a_map_are_those_of_unseen_normals(backbone):
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    _, unseen, labels = solved(backbone, images)
    normal = unseen.maps[labels[unseen.which] == 0].flatten().sort().values
    assert normal[len(normal) // 2].item() == pytest.approx(0, abs=1e-4)
    assert normal[int(0.99 * (len(normal) - 1))].item() == pytest.approx(1, abs=1e-4)
    assert unseen.scores[labels[unseen.which] == 0].median().item() == pytest.approx(0, abs=1e-4)


def solved(backbone, images, folds=4, **settings):
    """A method fitted on normal and abnormal images in turn, pairs of them left out together."""
    count = len(images)
    method = build(
        "discriminant", backbone, "x", settings_of("discriminant", **settings), masked=False
    )
    method.look(images)
    labels, every = (torch.arange(count) % 2).float(), torch.ones(count, dtype=torch.bool)
    prepared = torch.stack([method.prepare(images), method.prepare(images.flip(3))], 1)
    groups = torch.arange(count) // 2 % max(folds, 1)
    parts = [groups == fold for fold in range(folds)]
    return method, method.solve(Examples(prepared, labels, None, every, every), parts), labels


def test_the_detector_is_the_mean_of_models_that_left_out_a_fold(backbone):
    """A shot's unseen score is that of a fit without its fold, in the weights of the whole."""
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    method, unseen, _ = solved(backbone, images, bank_rows=0)
    new = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    members = []
    for fold in range(4):
        rest = torch.arange(8) // 2 % 4 != fold
        one, _, _ = solved(backbone, images[rest], folds=0, bank_rows=0)
        one.experts.memory.scale = method.experts.memory.scale
        one.factors, one.offset, one.unit = method.factors, method.offset, method.unit
        members.append(one)
        score, grid = one.predict(images[~rest])
        assert torch.allclose(unseen.scores[~rest], score, atol=2e-2)
        assert torch.allclose(unseen.maps[~rest], grid, atol=2e-2)
    found = torch.stack([one.predict(new)[0] for one in members]).mean(0)
    assert torch.allclose(method.predict(new)[0], found, atol=2e-2)


def test_a_few_folds_are_a_few_models_and_none_are_four(pictures, options, fitted):
    detector, method = fitted
    assert method.experts.patches.planes.shape[0] == 3
    assert len(detector.calibration.normals) == 6
    without, method = fit(pictures, changed(options, folds=0))
    assert method.experts.patches.planes.shape[0] == 4
    assert without.calibration.normals == ()


@pytest.mark.parametrize("folds", [2, 5])
def test_a_detector_of_any_number_of_models_loads(folds, pictures, options, backbone, tmp_path):
    detector, method = fit(pictures, changed(options, folds=folds))
    path = tmp_path / "d.safetensors"
    detector.save(path, method)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    again = read(path).load_method(path, backbone)
    assert torch.equal(again.predict(images)[0], method.predict(images)[0])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("experts.patches.planes", (0, 4, 33)),
        ("experts.patches.planes", (3, 4, 32)),
        ("experts.patches.planes", (3, 2, 33)),
        ("experts.memory.rows", (2, 0, 5, 32)),
        ("experts.memory.rows", (2, 3, 5)),
        ("experts.memory.rows", (1, 3, 5, 32)),
        ("experts.image", (10,)),
        ("factors", (3,)),
    ],
)
def test_tensors_of_another_shape_are_refused(fitted, backbone, tmp_path, name, shape):
    detector, method = fitted
    path = tmp_path / "d.safetensors"
    detector.save(path, method)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path) | {name: torch.zeros(shape)}, path, metadata)
    with pytest.raises(DetectorError, match="not those of method discriminant"):
        read(path).load_method(path, backbone)


def test_one_shot_of_each_label_is_fitted_but_not_calibrated(pictures, options):
    detector, method = fit(pictures, changed(options, shots=1))
    assert not detector.calibration.normals
    scores, maps = method.predict(torch.rand(2, 3, 64, 64))
    assert scores.isfinite().all()
    assert maps.isfinite().all()


def test_abnormal_shots_of_one_patient_alone_are_not_left_out(backbone):
    """No fold could learn without them: the one that holds them is not scored."""
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    method = build("discriminant", backbone, "x", settings_of("discriminant"), masked=False)
    labels, every = torch.tensor([0.0, 0, 0, 0, 1, 1]), torch.ones(6, dtype=torch.bool)
    folds = [torch.tensor([1, 1, 0, 0, 0, 0]) > 0, torch.tensor([0, 0, 1, 1, 1, 1]) > 0]
    prepared = method.prepare(images)[:, None]
    unseen = method.solve(Examples(prepared, labels, None, every, every), folds)
    assert unseen.which.tolist() == folds[0].tolist()
    assert unseen.scores.isfinite().all()


def test_an_abnormal_shot_without_a_mask_teaches_the_image_score_alone(
    tmp_path, options, backbone_folder
):
    data = tiny.write_pictures(tmp_path / "some", patients=4)
    for path in sorted((data / "masks").iterdir())[:2]:
        path.unlink()
    _, method = fit(data, changed(options, shots=4))
    assert method.masked
    assert method.predict(torch.rand(1, 3, 64, 64))[0].isfinite().all()


def framed(count: int, seed: int) -> torch.Tensor:
    """Textured squares of 44 to 52 pixels somewhere on black."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.zeros(count, 3, 64, 64)
    for image in images:
        side, top, left = (int(torch.randint(a, b, (1,), generator=draw)) for a, b in SPANS)
        image[:, top : top + side, left : left + side] = 0.3 + 0.4 * torch.rand(
            side, side, generator=draw
        )
    return images


SPANS = ((44, 53), (0, 12), (0, 12))


def test_the_foreground_is_enlarged_where_it_fills_a_part_of_the_frame(backbone):
    assert solved(backbone, framed(4, 1), folds=2)[0].settings.view == "foreground"
    assert solved(backbone, torch.rand(4, 3, 64, 64), folds=2)[0].settings.view == "whole"
    kept = solved(backbone, framed(4, 1), folds=2, view="whole")[0]
    assert kept.settings.view == "whole"


def test_a_place_in_the_batch_changes_no_bit_of_a_crop(backbone):
    method = solved(backbone, framed(4, 1), folds=2)[0].eval()
    batch = framed(8, 2)
    wanted = method.predict(batch)
    for places in range(1, 8):
        for found, first in zip(method.predict(batch.roll(places, 0)), wanted, strict=True):
            assert torch.equal(found, first.roll(places, 0))
    company = torch.cat([batch[:3], torch.zeros(5, 3, 64, 64)])
    for found, first in zip(method.predict(company), wanted, strict=True):
        assert torch.equal(found[:3], first[:3])


def test_a_detector_remembers_what_it_looks_at(pictures, options, backbone, tmp_path):
    detector, method = fit(pictures, changed(options, settings={"view": "foreground"}))
    assert detector.settings["view"] == "foreground"
    auto, _ = fit(pictures, options)
    assert auto.settings["view"] in ("whole", "foreground")
    path = tmp_path / "d.safetensors"
    detector.save(path, method)
    assert read(path).load_method(path, backbone).settings.view == "foreground"


def test_tokens_stay_single_where_masks_say_what_each_patch_shows(
    pictures, options, backbone, tmp_path
):
    detector, method = fit(pictures, options)
    assert (method.masked, detector.settings["patches"]) == (True, "single")
    assert solved(backbone, torch.rand(4, 3, 64, 64), folds=2)[0].settings.patches == "averaged"
    averaged, _ = fit(pictures, changed(options, settings={"patches": "averaged"}))
    assert averaged.settings["patches"] == "averaged"


def test_a_detector_that_does_not_say_has_averaged_tokens(backbone):
    """As all had before there was a choice."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    silent, averaged, single = (
        build("discriminant", backbone, "x", settings_of("discriminant", **said), masked=True)
        for said in ({}, {"patches": "averaged"}, {"patches": "single"})
    )
    told = averaged(averaged.prepare(images)).seg[1]
    assert torch.equal(silent(silent.prepare(images)).seg[1], told)
    alone = single(single.prepare(images)).seg[1]
    assert torch.equal(alone[:, 0], told[:, 0])  # CLS
    wanted = backbone.features(single.input(images), single.taps).levels[1].float()
    assert torch.equal(alone, torch.nn.functional.layer_norm(wanted, wanted.shape[-1:]))
    grid = wanted[:, 1:].unflatten(1, (backbone.grid, -1))
    middle = torch.nn.functional.layer_norm(grid[:, :3, :3].mean((1, 2)), wanted.shape[-1:])
    assert torch.allclose(told[:, 1 + backbone.grid + 1], middle, atol=1e-5)


def test_it_reads_no_sentence(backbone, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the text tower was asked")

    monkeypatch.setattr(type(backbone), "encode_text", refuse)
    monkeypatch.setattr(type(backbone), "prompts", refuse)
    assert solved(backbone, torch.rand(4, 3, 64, 64), folds=2)[1].scores.isfinite().all()


def test_other_data_sets_do_not_teach_it():
    with pytest.raises(UsageError, match="does not learn from other data sets"):
        settings_of("discriminant", "clean", True)


def test_it_is_what_is_fitted_where_nothing_is_asked_for_and_it_trains_no_epochs():
    assert FitOptions().method == "discriminant"
    with pytest.raises(UsageError, match=r"epochs=10 does not fit; its default is 0 and its larg"):
        settings_of(FitOptions().method, epochs=10)
