"""Conditional prompts: what they equal at start, their equations once more, and their promises.

There is no published code to compare with.
"""

import pytest
import torch
import torch.nn.functional as F

from medscan.clip import Prompts
from medscan.fitting import FitOptions, fit
from medscan.fitting.train import prepare, train
from medscan.methods import Batch, build, settings_of
from medscan.parts import losses, scoring
from medscan.shots.data import read_items
from medscan.shots.shots import draw_shots
from tests import tiny


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def make(backbone, organs="Brain", **changes):
    torch.manual_seed(0)
    return build("cocoop", backbone, organs, settings_of("cocoop", **changes), masked=True).eval()


def learned(method):
    """With a meta-net that says something of each image, as training would leave it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.nn.init.normal_(method.meta[0].weight, std=20.0)
        torch.nn.init.constant_(method.meta[0].bias, 20.0)  # no ReLU is shut
        torch.nn.init.normal_(method.meta[2].weight, std=0.1)
    return method


def batch_of(method, labels, masks=None, masked=None):
    count = len(labels)
    return Batch(
        method.prepare(images(count)),
        torch.tensor(labels),
        masks,
        torch.full((count,), masks is not None) if masked is None else masked,
        torch.zeros(count, dtype=torch.int64),
    )


def blobs(count: int) -> torch.Tensor:
    masks = torch.zeros(count, 64, 64)
    masks[1:, 10:30, 20:40] = 1
    return masks


@torch.no_grad()
def test_at_start_every_image_has_the_same_sentences(backbone):
    method = make(backbone)
    text = method.sentences(method.prepare(images(2))[:, -1, 0])
    plain = backbone.prompts([f"{s} Brain X X X X X X X X" for s in ("normal", "diseased")])
    rows = plain.embeddings.clone()
    assert plain.end.tolist() == [11, 12]  # "diseased" is two tokens
    for row, end in zip(rows, plain.end.tolist(), strict=True):
        row[end - 8 : end - 4] = method.context
        row[end - 4 : end] = 0
    wanted = F.normalize(backbone.encode_text(Prompts(rows, plain.end)), dim=-1)
    assert torch.allclose(text[0], text[1], atol=1e-6)  # kernels round by row
    assert torch.allclose(text[0], wanted, atol=1e-6)


@torch.no_grad()
def test_once_learned_every_image_has_its_own(backbone):
    method = learned(make(backbone))
    text = method.sentences(method.prepare(images(2))[:, -1, 0])
    assert (text[0] - text[1]).abs().max() > 1e-4
    assert torch.allclose(text.norm(dim=-1), torch.ones(2, 2), atol=1e-6)


@torch.no_grad()
def test_cutting_the_text_is_exact(backbone):
    method, whole = learned(make(backbone)), learned(make(backbone))
    full = backbone.prompts(
        [f"{s} Brain X X X X X X X X" for s in ("normal", "diseased")], whole=True
    )
    whole.pairs.forward = lambda count, organs=None: Prompts(
        full.embeddings.repeat(count, 1, 1), full.end.repeat(count)
    )
    assert whole.pairs(1).embeddings.shape[1] == 77
    assert method.pairs(1).embeddings.shape[1] == 13
    for found, wanted in zip(method.predict(images(3)), whole.predict(images(3)), strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


@torch.no_grad()
def test_organs_of_several_words_keep_the_vectors_before_the_end(backbone):
    method = learned(make(backbone, ["Brain", "Chest X-ray film"]))
    prepared = method.prepare(images(2))
    both, maps = method.score(method(prepared, torch.tensor([0, 1])))
    for number, organ in enumerate(method.organs):
        alone, grid = learned(make(backbone, organ)).predict(images(2))
        assert torch.allclose(alone[number], both[number], atol=1e-5)
        assert torch.allclose(grid[number], maps[number], atol=1e-5)


@torch.no_grad()
def test_scores_and_maps_are_the_equations(backbone):
    method = learned(make(backbone))
    scale = backbone.logit_scale
    for image in images(2).split(1):
        tokens = backbone.features(backbone.normalise(image), method.taps).levels
        joint = [F.normalize(backbone.project(t)[0], dim=-1) for t in tokens]
        normal, diseased = method.sentences(joint[-1][:1])[0]
        margins = torch.stack([t @ diseased - t @ normal for t in joint])
        weights = margins[:, 1:].mean(1).softmax(0)
        fused = (weights[:, None] * margins[:, 1:]).sum(0)
        score, grid = method.predict(image)
        assert torch.allclose(grid.flatten(), torch.sigmoid(scale * fused), atol=1e-5)
        assert torch.allclose(score, torch.sigmoid(scale * margins[:, 0].mean()), atol=1e-5)
        raw = method.published(method(method.prepare(image)), 64).maps[0]
        wanted = F.interpolate(fused.reshape(1, 1, 4, 4), (64, 64), mode="bicubic")[0]
        assert torch.allclose(raw, wanted, atol=1e-5)


@torch.no_grad()
def test_the_published_map_can_be_scaled_by_itself_and_the_score_weighted(backbone):
    plain, paper = learned(make(backbone)), learned(make(backbone, minmax=True))
    other = learned(make(backbone, weighted_score=True))
    levels = plain(plain.prepare(images(3)))
    maps = paper.published(levels, 64).maps[0]
    assert torch.equal(maps.amin((1, 2)), torch.zeros(3))
    assert torch.allclose(maps.amax((1, 2)), torch.ones(3))
    low, high = sorted((float(plain.score(levels)[0][0]), float(other.score(levels)[0][0])))
    assert 0 < low < high < 1


def test_a_score_depends_on_no_other_image(backbone):
    method = learned(make(backbone))
    together, maps = method.predict(images(5))
    for i in range(5):
        alone, grid = method.predict(images(5)[i : i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-5)
        assert torch.allclose(grid[0], maps[i], atol=1e-5)


def test_the_loss_is_cross_entropy_and_dice(backbone):
    method = learned(make(backbone, dice_weight=0.5))
    masks, masked = blobs(3), torch.tensor([True, False, True])
    batch = batch_of(method, [0.0, 1.0, 1.0], masks, masked)
    levels = method(batch.prepared, batch.organs)
    terms = method.terms(levels, batch)
    p, _ = method.score(levels)
    ce = -torch.stack([(1 - p[0]).log(), p[1].log(), p[2].log()]).mean()
    assert torch.allclose(terms["ce"], ce, atol=1e-5)
    grid = scoring.on_grid(method.fuse(levels.seg, weighted=True))
    fine = F.interpolate(grid, (64, 64), mode="bilinear").softmax(1)[masked, 1]
    overlap, sizes = (fine * masks[masked]).sum(), fine.sum() + masks[masked].sum()
    assert torch.allclose(terms["dice"], 0.5 * (1 - (2 * overlap + 1) / (sizes + 1)), atol=1e-5)
    assert set(method.terms(levels, batch_of(method, [0.0, 1.0, 1.0]))) == {"ce"}


def test_everything_learned_gets_a_gradient_and_nothing_else(backbone):
    method = learned(make(backbone))
    batch = batch_of(method, [0.0, 1.0], blobs(2))
    losses.total(method.terms(method(batch.prepared, batch.organs), batch)).backward()
    names = {name for name, _ in method.named_parameters()}
    assert {n.split(".")[0] for n in names} == {"context", "meta"}
    for name, parameter in method.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert all(p.grad is None for p in method.backbone.model.parameters())
    assert set(method.state_dict()) == names


@pytest.mark.parametrize("masked", [True, False])
def test_training_lowers_the_loss_and_repeats(tmp_path, backbone, masked):
    data = tiny.write_pictures(tmp_path, masks=masked)
    shots = draw_shots(read_items(data), 4, 0, size=64, window="auto", plane=None)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        method = build("cocoop", backbone, "Brain", settings_of("cocoop"), masked=masked)
        seen = []
        train(method, prepare(method, shots, 0), 0, lambda *told, to=seen: to.append(told[2]))
        found.append((seen, method.state_dict()))
    assert len(found[0][0]) == 10
    assert found[0][0][-1] < found[0][0][0]
    assert found[0][0] == found[1][0]
    assert all(torch.equal(v, found[1][1][k]) for k, v in found[0][1].items())


def test_a_saved_detector_scores_alike(pictures, backbone, backbone_folder, tmp_path):
    options = FitOptions(
        shots=3,
        method="cocoop",
        backbone=f"local-dir:{backbone_folder}",
        organ="Brain",
        folds=0,
        settings={"epochs": 2},
    )
    detector, method = fit(pictures, options)
    saved = detector.save(tmp_path / "it.safetensors", method)
    again = saved.load_method(tmp_path / "it.safetensors", backbone)
    for before, after in zip(method.predict(images(2)), again.predict(images(2)), strict=True):
        assert torch.equal(before, after)
