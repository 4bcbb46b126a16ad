"""MVFA against the authors' own numbers, and its promises.

Where paper and code disagree (#n) `MvfaSettings` names what each does: #1 batch, #2 image_score,
#4 keep and mix, #9 probability_map, #10 bank_cls and bank_variants, #11 fusion, #14 normalise and
quick_gelu. Faults of the code: double squashed BCE (legacy_bce), Dice on empty masks (batch_dice),
maps stretched to the corners (align_corners).
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from medscan.errors import UsageError
from medscan.evaluate.figures import Fused
from medscan.evaluate.observe import Observations, Truth
from medscan.methods import METHODS, Batch, build, settings_of
from medscan.parts import losses
from tests.golden import backbone as authors_backbone
from tests.golden import of_method, off


@pytest.fixture(scope="module")
def golden():
    return of_method("mvfa")


@pytest.fixture
def authors(golden):
    """MVFA as published, with the authors' weights."""
    settings = settings_of("mvfa", "paper", size=None)
    method = build("mvfa", authors_backbone(quick_gelu=False), "Brain", settings, masked=True)
    take_weights(method, golden)
    return method


def take_weights(method, golden):
    for kind in ("seg", "det"):
        for level, adapter in enumerate(getattr(method, kind)):
            for ours, theirs in (("down", "fc1"), ("up", "fc2")):
                weight = golden[f"weight.{kind}_adapters.{level}.{theirs}.0.weight"]
                getattr(adapter, ours).weight.data.copy_(weight)


def test_features_texts_and_maps_are_the_authors(authors, golden):
    with torch.inference_mode():
        levels = authors(authors.prepare(golden["taps.images"][:3]))
        maps = torch.stack([authors.probability_map(a, 96) for a in levels.seg])
    assert off(authors.text.t(), golden["text.Brain"]) < 1e-4
    assert off(torch.stack(levels.seg), golden["mid.seg"]) < 1e-4
    assert off(torch.stack(levels.det), golden["mid.det"]) < 1e-4
    assert off(maps, golden["seg.prob"]) < 1e-4
    assert off(maps.sum(0), golden["zero.seg_map"]) < 1e-4


def test_the_memory_is_the_authors(authors, golden):
    authors.remember([authors.prepare(golden["taps.images"][3:5])], torch.tensor([0, 1]))
    with torch.inference_mode():
        levels = authors(authors.prepare(golden["taps.images"][:3]))
    bank = authors.banks["seg"]
    assert off(bank.rows, golden["bank2.seg"]) < 1e-4
    nearest = bank(levels.seg, scaled=False).reshape(4, 3, 6, 6)
    assert off(nearest, golden["bank2.seg.nn"]) < 1e-4


def test_the_published_test_procedure_is_the_authors(authors, golden):
    """Branches before test-set scaling, then the fused map and its maximum."""
    authors.eval().remember([authors.prepare(golden["taps.images"][3:5])], torch.tensor([0, 1]))
    with torch.inference_mode():
        levels = authors(authors.prepare(golden["taps.images"][:3]))
        found = authors.published(levels, 96)
    assert found.scores == ()
    assert off(found.maps[0], golden["zero.seg_map"]) < 1e-4
    assert off(found.maps[1], golden["bank2.seg.few_map"]) < 1e-4
    seen = Observations(96)
    for row in range(3):
        truth = Truth(str(row), str(row), str(row), 0, None, (0, 0, 96, 96))
        seen.add(truth, np.zeros(0, np.float32), np.stack([m[row].numpy() for m in found.maps]))
    fused = Fused(seen)
    assert off(torch.from_numpy(np.stack(list(fused.maps()))), golden["bank2.fused_map"]) < 1e-4
    assert off(torch.from_numpy(fused.scores()), golden["bank2.image_score"]) < 1e-4


def test_data_without_masks_keep_the_idle_branch_in_the_mix(golden):
    """The code never trains the seg adapters there, but mixes them in (N6)."""
    settings = settings_of("mvfa", "paper", size=None)
    method = build("mvfa", authors_backbone(quick_gelu=False), "Brain", settings, masked=False)
    take_weights(method, golden)
    images = golden["taps.images"][:3]
    with torch.inference_mode():
        assert off(torch.stack(method(method.prepare(images)).det), golden["mid.det"]) < 1e-4
    assert sum(len(o.param_groups[0]["params"]) for o in method.optimisers()) == 8
    method.eval().remember([method.prepare(golden["taps.images"][3:5])], torch.tensor([0, 1]))
    with torch.inference_mode():
        found = method.published(method(method.prepare(images)), 96)
    assert off(found.scores[0], golden["zero.det"]) < 1e-4
    fused = sum(0.5 * (s - s.min()) / (s.max() - s.min()) for s in found.scores)
    assert off(fused, golden["bank2.image_score_det"]) < 1e-4


@pytest.mark.parametrize("image", [0, 1])
def test_losses_and_gradients_are_the_authors(authors, golden, image):
    batch = batch_of(authors, golden, image, golden["taps.labels"][image])
    terms = authors.terms(authors(batch.prepared), batch)
    for name in ("bce", "focal", "dice"):
        found = torch.stack([terms[f"{name}.{level}"] for level in range(4)])
        assert off(found, golden[f"loss.image{image}.{name}"]) < 1e-4
    losses.total(terms).backward()
    for kind in ("seg", "det"):
        for level in range(4):
            gradient = getattr(authors, kind)[level].down.weight.grad
            wanted = golden[f"grad.image{image}.{kind}_adapters.{level}.fc1.0.weight"]
            assert off(gradient, wanted) < 1e-4
        # The last update has no consumer: its weights are never trained (#7).
        assert getattr(authors, kind)[3].up.weight.grad is None


def test_two_steps_of_training_are_the_authors(authors, golden):
    optimisers = authors.optimisers()
    for step, label in enumerate(golden["train.label_order"].tolist()):
        batch = batch_of(authors, golden, 0 if label else 3, label)
        terms = authors.terms(authors(batch.prepared), batch)
        for name in ("bce", "focal", "dice"):
            found = torch.stack([terms[f"{name}.{level}"] for level in range(4)])
            assert off(found, golden[f"train.{name}"][step]) < (1e-4, 1e-3)[step]
        loss = losses.total(terms)
        assert off(loss, golden["train.loss_total"][step]) < (1e-4, 1e-3)[step]
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()


def batch_of(method, golden, image, label):
    """One image with its mask."""
    chosen = slice(image, image + 1)
    return Batch(
        method.prepare(golden["taps.images"][chosen]),
        torch.tensor([float(label)]),
        golden["taps.masks"][chosen, 0],
        torch.tensor([True]),
        torch.tensor([0]),
    )


# --- its promises -------------------------------------------------------------------------------


@pytest.fixture
def mvfa(backbone):
    torch.manual_seed(0)
    settings = settings_of("mvfa", bank_rows=16)
    return build("mvfa", backbone, "Brain", settings, masked=True).eval()


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_only_adapters_are_trained(mvfa):
    names = {name.split(".")[0] for name, _ in mvfa.named_parameters()}
    assert names == {"seg", "det"}
    assert not any(p.requires_grad for p in mvfa.backbone.model.parameters())
    batch = Batch(
        mvfa.prepare(images(2)),
        torch.tensor([0.0, 1.0]),
        torch.zeros(2, 64, 64),
        torch.ones(2) > 0,
        torch.zeros(2, dtype=torch.int64),
    )
    losses.total(mvfa.terms(mvfa(batch.prepared), batch)).backward()
    assert all(p.grad is None for p in mvfa.backbone.model.parameters())


def test_a_score_depends_on_no_other_image(mvfa):
    mvfa.remember([mvfa.prepare(images(4, 1))], torch.arange(4))
    together, maps = mvfa.predict(images(5))
    for i in range(5):
        alone, grid = mvfa.predict(images(5)[i : i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-5)
        assert torch.allclose(grid[0], maps[i], atol=1e-5)


def test_only_masks_teach_the_seg_branch(mvfa):
    """Batches of data without masks step the det branch alone, as published."""
    optimisers, prepared = mvfa.optimisers(), mvfa.prepare(images(2))
    organs, labels = torch.zeros(2, dtype=torch.int64), torch.tensor([0.0, 1.0])
    masks = torch.zeros(2, 64, 64)
    for masked, count in ((torch.tensor([True, False]), 2), (torch.zeros(2) > 0, 1)):
        batch = Batch(prepared, labels, masks, masked, organs)
        found = mvfa.active_optimisers(optimisers, batch)
        assert len(found) == count
        assert found[-1] is optimisers[1]  # the det branch's


def test_a_batch_has_the_mean_loss_of_its_images(mvfa):
    """Real batches equal batch 1 where the loss is a mean over images."""
    mvfa.settings = settings_of("mvfa", batch_dice=False)
    prepared, labels = mvfa.prepare(images(3)), torch.tensor([0.0, 1.0, 1.0])
    masks = (images(3, 2)[:, 0] > 0.8).float()
    all_masked, organs = torch.ones(3) > 0, torch.zeros(3, dtype=torch.int64)
    whole = mvfa.terms(mvfa(prepared), Batch(prepared, labels, masks, all_masked, organs))
    for name, value in whole.items():
        single = [
            mvfa.terms(
                mvfa(prepared[i : i + 1]),
                Batch(*(x[i : i + 1] for x in (prepared, labels, masks, all_masked, organs))),
            )[name]
            for i in range(3)
        ]
        assert torch.allclose(value, torch.stack(single).mean(), rtol=1e-4), name


def test_without_masks_there_is_no_seg_branch(backbone):
    method = build("mvfa", backbone, "Brain", settings_of("mvfa"), masked=False)
    assert not list(method.seg.parameters())
    method.remember([method.prepare(images(4, 1))], torch.arange(4))
    score, grid = method.predict(images(2))
    assert score.shape == (2,)
    assert grid.shape == (2, 4, 4)


@pytest.mark.parametrize("how", ["det", "max", "both"])
def test_image_scores(backbone, how):
    method = build("mvfa", backbone, "Brain", settings_of("mvfa", image_score=how), masked=True)
    method.remember([method.prepare(images(4, 1))], torch.arange(4))
    score, grid = method.predict(images(3))
    assert torch.isfinite(score).all()
    if how == "max":
        assert torch.allclose(score, grid.flatten(1).amax(1))


def test_settings_are_checked_and_plain(backbone):
    with pytest.raises(UsageError, match="has no setting colour"):
        settings_of("mvfa", colour=3)
    for word in ("name", "protocol", "zero_shot"):
        with pytest.raises(UsageError, match=f"has no setting {word}"):
            settings_of("mvfa", **{word: 1})
    with pytest.raises(UsageError, match="choose one of discriminant, mvfa"):
        settings_of("nonsense")
    with pytest.raises(UsageError, match="choose clean or paper"):
        settings_of("mvfa", "honest")
    for wrong in (
        {"epochs": "abc"},
        {"batch": 0},
        {"normalise": 1},
        {"scale": "big"},
        {"epochs": 2.0},
    ):
        with pytest.raises(UsageError, match="does not fit"):
            settings_of("mvfa", **wrong)
    with pytest.raises(UsageError, match="one of support, none"):
        settings_of("mvfa", fusion="best")
    with pytest.raises(UsageError, match="does not learn from other data sets"):
        settings_of("patchcore", "clean", True)
    for name, system in METHODS.items():
        for zero_shot in (False, True)[: 1 if system.zero_shot is None else 2]:
            for protocol in ("clean", "paper"):
                json.dumps(asdict(settings_of(name, protocol, zero_shot)))
