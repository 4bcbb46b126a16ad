import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from medscan.detector import Domain, read
from medscan.errors import MedscanError, UsageError
from medscan.fitting import FitOptions, augment, fingerprint, fit
from medscan.fitting.calibrate import patient_folds, summarise
from medscan.fitting.held import HeldOut
from medscan.fitting.train import prepare, train
from medscan.methods import build, settings_of
from medscan.scoring.models import describe
from medscan.shots import load_items, read_items
from medscan.shots.shots import draw_shots
from tests import tiny


@pytest.fixture
def options(backbone_folder):
    return FitOptions(
        method="mvfa",
        shots=4,
        backbone=f"local-dir:{backbone_folder}",
        organ="Brain",
        folds=2,
        settings={"epochs": 2, "bank_rows": 16},
    )


def changed(options, **fields):
    from dataclasses import replace

    return replace(options, **fields)


def test_one_seed_gives_one_detector(pictures, options, tmp_path):
    files = []
    for name in ("a", "b"):
        detector, method = fit(pictures, options)
        detector.save(tmp_path / name, method)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    other, _ = fit(pictures, changed(options, seed=1))
    assert other.shots != detector.shots


def test_training_lowers_the_loss_and_leaves_the_backbone(pictures, backbone):
    shots = draw_shots(read_items(pictures), 4, 0, size=64, window="auto", plane=None)
    torch.manual_seed(0)
    method = build("mvfa", backbone, "Brain", settings_of("mvfa", epochs=8), masked=True)
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    seen = []
    train(method, prepare(method, shots, 0), 0, lambda _epoch, _epochs, loss: seen.append(loss))
    assert len(seen) == 8
    assert seen[-1] < seen[0]
    assert all(torch.equal(v, before[k]) for k, v in backbone.model.state_dict().items())


@pytest.mark.parametrize(
    ("precision", "able", "mixed"),
    [("mixed", True, True), ("mixed", False, False), ("fp32", True, False)],
)
def test_training_multiplies_in_bfloat16_where_that_is_faster(
    pictures, options, monkeypatch, precision, able, mixed
):
    monkeypatch.setattr("medscan.fitting.train.computes_bf16", lambda: able)
    seen = set()
    plain = torch.nn.functional.linear

    def watched(x, *rest):
        seen.add(x.dtype)
        return plain(x, *rest)

    monkeypatch.setattr("torch.nn.functional.linear", watched)
    settings = {"epochs": 1, "bank_rows": 16}
    _, method = fit(
        pictures,
        changed(options, precision=precision, folds=0, settings=settings),
    )
    assert (torch.bfloat16 in seen) == mixed
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    seen.clear()
    with torch.enable_grad():  # else layers go to oneDNN
        method(method.prepare(torch.rand(1, 3, 64, 64)))
    assert seen == {torch.float32}


def test_ctrl_c_keeps_the_best_epoch_so_far(pictures, backbone):
    shots = draw_shots(read_items(pictures), 2, 0, size=64, window="auto", plane=None)
    method = build("mvfa", backbone, "Brain", settings_of("mvfa", epochs=50), masked=True)
    states = {}

    def interrupt(epoch, _epochs, loss):
        if epoch == 3:
            raise KeyboardInterrupt
        states[loss] = {k: v.clone() for k, v in method.state_dict().items()}

    assert not train(method, prepare(method, shots, 0), 0, interrupt)
    best = states[min(states)]
    assert all(torch.equal(v, best[k]) for k, v in method.state_dict().items())


def test_a_judge_chooses_the_epoch(pictures, options):
    """As published code chooses on the test set; the detector says so."""
    values, states = iter([0.1, 0.9, 0.3]), []

    def judge(method):
        states.append({k: v.clone() for k, v in method.state_dict().items()})
        return next(values)

    asked = changed(options, settings={"epochs": 3, "bank_rows": 16}, folds=0)
    detector, method = fit(pictures, asked, judge=judge)
    assert detector.selection == "test"
    assert len(states) == 3
    for name, tensor in method.state_dict().items():
        assert torch.equal(tensor, states[1][name]), name
    last, _ = fit(pictures, asked)
    assert last.selection == "last"


def test_an_empty_mask_is_none(tmp_path, options, caplog):
    data = tiny.write_pictures(tmp_path, patients=4)
    Image.new("L", (48, 48)).save(data / "masks" / "abnormal_p0_0.png")
    shots = load_items(read_items(data), size=64, window="auto", plane=None)
    assert shots.masked.tolist().count(False) == 1
    assert "the mask of abnormal/abnormal_p0_0.png is empty" in caplog.text


def test_a_detector_knows_the_files_it_has_seen(pictures, options):
    detector, _ = fit(pictures, options)
    names = detector.shots["normal"] + detector.shots["abnormal"]
    wanted = sorted(hashlib.sha256((pictures / name).read_bytes()).hexdigest() for name in names)
    assert list(detector.fingerprints) == wanted


def test_several_data_sets_and_source_organs_belong_to_zero_shot(pictures, options):
    with pytest.raises(UsageError, match="only for --zero-shot"):
        fit([pictures, pictures], options)
    with pytest.raises(UsageError, match="needs one --source-organ for each data set"):
        fit([pictures, pictures], changed(options, zero_shot=True, source_organs=("Brain",)))
    with pytest.raises(UsageError, match="--source-organ is only for --zero-shot"):
        fit(pictures, changed(options, source_organs=("Brain",)))
    with pytest.raises(UsageError, match="needs labelled images"):
        fit([], options)


def test_ctrl_c_before_anything_was_learnt_gives_no_detector(pictures, options):
    def told(moment):
        if moment.doing == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(pictures, options, told)


@pytest.mark.parametrize(
    ("doing", "step", "normals", "said"),
    [
        ("training", 2, 0, "the best epoch so far is kept"),
        ("fold 1 of 2", 1, 0, "calibrated on 0 of 2 folds"),
        ("fold 2 of 2", 2, 2, "calibrated on 1 of 2 folds"),
    ],
)
def test_an_interrupted_fit_is_calibrated_by_the_folds_that_were_done(
    pictures, options, caplog, doing, step, normals, said
):
    def told(moment):
        if (moment.doing, moment.step) == (doing, step):
            raise KeyboardInterrupt

    detector, _ = fit(pictures, options, told)
    assert len(detector.calibration.normals) == normals
    assert detector.calibration.provisional
    assert f"interrupted: {said}" in caplog.text


def test_a_fit_says_beforehand_how_long_it_takes_and_where_it_is(pictures, options):
    moments = []
    fit(pictures, options, moments.append)
    first, last = moments[0], moments[-1]
    assert (first.doing, first.step, first.done) == ("features", 0, 0)
    assert {moment.planned for moment in moments} == {last.done}
    assert [m.done for m in moments] == sorted(m.done for m in moments)
    # 8 images; 2 epochs of a step, of all shots and of those of either fold.
    stages = [(m.doing, m.steps) for m in moments if m.step == m.steps]
    assert stages == [("features", 8), ("training", 2), ("fold 1 of 2", 2), ("fold 2 of 2", 2)]


def test_what_is_learnt_at_once_is_in_the_estimate_too(pictures, options):
    moments = []
    fit(pictures, changed(options, method="discriminant", settings={}), moments.append)
    assert [(m.doing, m.steps) for m in moments if m.step == m.steps] == [
        ("features", 8),
        ("models", 2),
    ]
    assert moments[-1].planned == moments[-1].done > moments[-2].done


def test_a_detector_lists_its_shots_and_never_a_test_patient(pictures, options):
    detector, _ = fit(pictures, options)
    names = detector.shots["normal"] + detector.shots["abnormal"]
    assert len(names) == len(set(names)) == 8
    assert set(names) <= {item.name for item in read_items(pictures)}


@pytest.mark.parametrize("count", [2, 3, 5])
def test_folds_never_split_a_patient(count):
    labels = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 0])
    patients = torch.tensor([0, 0, 1, 2, 2, 3, 4, 5])
    folds = patient_folds(labels, patients, count, 0)
    assert torch.stack(folds).sum(0).tolist() == [1] * 8
    for fold in folds:
        assert not set(patients[fold].tolist()) & set(patients[~fold].tolist())


def test_one_patient_only_is_not_calibrated(tmp_path, options):
    data = tiny.write_pictures(tmp_path, patients=1, each=4)
    detector, _ = fit(data, options)
    assert detector.calibration.normals == ()
    assert detector.calibration.provisional


def test_without_masks(tmp_path, options):
    data = tiny.write_pictures(tmp_path, patients=4, masks=False)
    detector, method = fit(data, options)
    assert not detector.masked
    score, grid = method.predict(torch.rand(1, 3, 64, 64))
    assert torch.isfinite(score).all()
    assert grid.shape == (1, 4, 4)


def test_volumes_give_slices_and_masks_say_which_are_abnormal(tmp_path, options):
    write_volumes(tmp_path)
    detector, _ = fit(tmp_path, changed(options, shots=3, domain=Domain(plane="axial")))
    assert {name.split("#")[1] for name in detector.shots["abnormal"]} == {"2"}
    assert len(detector.shots["normal"]) == 3
    everything = load_items(read_items(tmp_path), size=64, window="auto", plane=None)
    assert len(everything) == 3 * 4 + 3
    (tmp_path / "masks" / "abnormal0.nii.gz").unlink()
    with pytest.raises(UsageError, match="abnormal volume without a mask"):
        fit(tmp_path, options)


def write_volumes(folder, patients=3, depth=4, **names):
    """A volume of each label for every patient; the third slice of abnormal ones has a lesion."""
    rng = np.random.default_rng(0)
    for label in ("normal", "abnormal"):
        for patient in range(patients):
            planes = [
                tiny.phantom(rng, lesion=label == "abnormal" and k == 2) for k in range(depth)
            ]
            volume = np.stack([p for p, _ in planes], -1)
            name = f"{label}{patient}.nii.gz"
            tiny.write_nifti(folder / label / name, (volume * 100).astype(np.int16))
            if label == "abnormal":
                mask = np.stack([m for _, m in planes], -1).astype(np.uint8)
                tiny.write_nifti(folder / "masks" / name, mask)
    return folder


@pytest.mark.parametrize("method", ["mvfa", "patchcore", "discriminant"])
def test_whole_normal_volumes_are_calibrated_on(tmp_path, options, method):
    """Also those of patients without shots, each by a model that had not seen its patient."""
    data = write_volumes(tmp_path, patients=5)
    settings = {"bank_rows": 16} | ({"epochs": 2} if method == "mvfa" else {})
    asked = changed(options, method=method, settings=settings, shots=3)
    asked = changed(asked, domain=Domain(plane="axial"), target_fpr=0.2)
    detector, fitted = fit(data, asked)
    calibration = detector.calibration
    assert [len(scores) for scores in calibration.stacks] == [4] * 5
    assert calibration.normals == tuple(sorted(s for one in calibration.stacks for s in one))
    assert calibration.patients == 5
    assert (calibration.promise.level, calibration.promise.normals) == ("stacks", 5)
    files = {fingerprint(p) for p in (data / "normal").iterdir()}
    assert files <= set(detector.fingerprints)
    images = load_items(read_items(data), size=64, window="auto", plane=None).images[:4]
    assert not set(fitted.predict(images)[0].tolist()) & set(calibration.normals)
    assert fit(data, changed(asked, folds=0))[0].calibration.stacks == ()


@pytest.mark.parametrize(
    ("method", "said"),
    [("discriminant", "2 of 5 normal stacks"), ("patchcore", r"[12] of 2 folds")],
)
def test_normal_stacks_are_in_the_estimate_and_can_be_interrupted(
    tmp_path, options, caplog, method, said
):
    data = write_volumes(tmp_path, patients=5)
    asked = changed(options, method=method, settings={"bank_rows": 16}, shots=3)
    asked = changed(asked, domain=Domain(plane="axial"), target_fpr=0.2)
    moments = []
    fit(data, asked, moments.append)
    assert [m.doing for m in moments][-5:] == [f"normal stack {n} of 5" for n in range(1, 6)]
    assert moments[0].planned == pytest.approx(moments[-1].done)

    def told(moment):
        if moment.doing == "normal stack 3 of 5":
            raise KeyboardInterrupt

    calibration = fit(data, asked, told)[0].calibration
    assert calibration.provisional
    assert len(calibration.stacks) == 2
    assert re.search(f"interrupted: calibrated on {said}", caplog.text)


def test_volumes_beside_many_pictures_are_not_what_stacks_are_calibrated_on(tmp_path, options):
    data = tiny.write_pictures(tmp_path, patients=8)
    (data / "cases.csv").unlink()
    write_volumes(tmp_path, patients=4)
    few, _ = fit(data, options)
    assert few.calibration.stacks == ()
    for path in sorted((data / "normal").glob("*.png"))[4:]:
        path.unlink()
    half, _ = fit(data, options)
    assert len(half.calibration.stacks) == 4


def test_dicom_files_can_be_shots(tmp_path, options):
    volume = tiny.head_volume(0)
    for label in ("normal", "abnormal"):
        folder = tiny.write_series(tmp_path / "series", volume)
        (tmp_path / label).mkdir()
        for n, file in enumerate(sorted(folder.iterdir())[:4]):
            file.rename(tmp_path / label / f"{label}{n}.dcm")
    detector, _ = fit(tmp_path, options)
    assert len(detector.shots["normal"]) == 4


def test_bad_data_is_one_clear_line(tmp_path, options):
    data = tiny.write_pictures(tmp_path / "few", patients=2)
    with pytest.raises(UsageError, match="4 normal shots were asked for, but there are 2"):
        fit(data, options)
    Image.new("L", (10, 20)).save(data / "masks" / "abnormal_p0_0.png")
    with pytest.raises(UsageError, match="is 10 x 20 x 1, but the image is 48 x 48 x 1"):
        fit(data, changed(options, shots=2))
    only = tiny.write_pictures(tmp_path / "only", patients=4)
    for path in (only / "abnormal").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="abnormal shots were asked for, but there are 0"):
        fit(only, options)
    broken = tiny.write_pictures(tmp_path / "broken", patients=2)
    for path in (broken / "normal").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UsageError, match="cannot be fitted on"):
        fit(broken, changed(options, shots=2))


def test_sizes_and_colours_may_mix(tmp_path, options):
    data = tiny.write_pictures(tmp_path, patients=4)
    path = data / "normal" / "normal_p0_0.png"
    Image.open(path).convert("RGB").resize((80, 40)).save(path)
    detector, _ = fit(data, options)
    assert len(detector.shots["normal"]) == 4


def test_options_are_checked(pictures, options):
    with pytest.raises(UsageError, match="--shots"):
        fit(pictures, changed(options, shots=0))
    with pytest.raises(UsageError, match="--target-fpr"):
        fit(pictures, changed(options, target_fpr=1.5))


def test_variants_turn_image_and_mask_alike():
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 5:9, 20:26] = 1
    found = augment.variants(image.expand(1, 3, 32, 32), "mvfa")
    masks = augment.variants(image, "mvfa")
    assert found.shape == (1, augment.count("mvfa"), 3, 32, 32)
    assert torch.equal(found[:, :, :1], masks)
    assert torch.equal(found[0, 0, 0], image[0, 0])
    assert torch.equal(found[0, -2, 0], image[0, 0].flip(1))
    assert torch.equal(found[0, -1, 0], image[0, 0].flip(0))


def test_a_loss_that_is_not_finite_is_said(pictures, options):
    wild = changed(options, method="mvfa", settings={"learning_rate": 1e6, "epochs": 3})
    with pytest.raises(UsageError, match="is not finite; choose a smaller learning_rate"):
        fit(pictures, wild)


def test_every_method_can_use_every_augmentation(pictures, options):
    settings = {"augmentation": "madclip", "epochs": 1}
    assert fit(pictures, changed(options, method="mvfa", settings=settings, folds=0))


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_no_threshold_is_made_of_scores_that_are_not_finite(score):
    held = HeldOut({0: [0.2]}, [score], [torch.zeros(2, 2)])
    with pytest.raises(MedscanError, match="scores of held-out shots are not finite"):
        summarise(held, 0.05)
    with pytest.raises(MedscanError, match="scores of held-out shots are not finite"):
        summarise(HeldOut(stacks=[(0, (0.5, score))]), 0.05)


def test_the_size_of_the_input_is_a_multiple_of_the_patches(backbone_folder, pictures):
    options = FitOptions(
        shots=2, method="patchcore", backbone=f"local-dir:{backbone_folder}", folds=0, size=96
    )
    _, method = fit(pictures, options)
    assert (method.backbone.size, method.backbone.grid) == (96, 6)
    with pytest.raises(UsageError, match=r"no multiple of the 16 pixels .* choose 96 or 112"):
        fit(pictures, replace(options, size=100))


def test_the_licence_of_the_backbone_travels(pictures, tmp_path):
    folder = tiny.write_tower(
        tmp_path / "tower", "vit_base_patch14_reg4_dinov2", embed_dim=32, depth=2, num_heads=2,
        patch_size=16,
    )  # fmt: skip
    options = FitOptions(shots=2, method="patchcore", backbone=f"local-dir:{folder}", folds=0)
    detector, method = fit(pictures, options)
    detector.save(tmp_path / "d.safetensors", method)
    again = read(tmp_path / "d.safetensors")
    assert again.backbone_licence == "cc-by-4.0"
    assert describe(again)["backbone_licence"] == "cc-by-4.0"
