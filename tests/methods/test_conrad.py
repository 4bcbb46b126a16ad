"""ConRAD: what it equals at start, what it is with open gates, and its promises.

There is no published code to compare with; the equations are written out a second way here.
"""

import pytest
import torch
import torch.nn.functional as F

from medscan import clip
from medscan.clip import Prompts
from medscan.fitting import FitOptions, fit
from medscan.fitting.train import prepare, train
from medscan.methods import Batch, build, settings_of
from medscan.parts import losses
from medscan.shots.data import read_items
from medscan.shots.shots import draw_shots
from tests import tiny


def images(count: int, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def make(backbone, organs="Brain", **changes):
    torch.manual_seed(0)
    return build("conrad", backbone, organs, settings_of("conrad", **changes), masked=True).eval()


def opened(method):
    """With gates half open, as training would."""
    torch.nn.init.constant_(method.text_gates, 0.5)
    torch.nn.init.constant_(method.visual_gates, 0.5)
    return method


def batch_of(method, labels, organs=None):
    count = len(labels)
    return Batch(
        method.prepare(images(count)),
        torch.tensor(labels),
        None,
        torch.zeros(count) > 0,
        torch.zeros(count, dtype=torch.int64) if organs is None else organs,
    )


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """More text blocks than vision blocks, and grids of another size."""
    config = tiny.CONFIG | {
        "vision_cfg": tiny.CONFIG["vision_cfg"] | {"layers": 3, "image_size": 48},
        "text_cfg": tiny.CONFIG["text_cfg"] | {"layers": 11},
    }
    return clip.load(f"local-dir:{tiny.write_backbone(tmp_path_factory.mktemp('deep'), config)}")


@pytest.mark.parametrize("kind", ["backbone", "deep"])
@torch.no_grad()
def test_at_start_it_is_zero_shot_clip(kind, request):
    backbone = request.getfixturevalue(kind)
    method = make(backbone)
    pictures = images(3, backbone.size)
    sentences = ["a photo of a normal Brain", "a photo of a abnormal Brain"]
    model = backbone.model
    text = F.normalize(model.encode_text(backbone.tokenizer(sentences)), dim=-1)
    seen = F.normalize(model.encode_image(backbone.normalise(pictures)), dim=-1)
    wanted = (model.logit_scale.exp() * seen @ text.t()).softmax(-1)[:, 1]
    score, grid = method.predict(pictures)
    assert torch.allclose(score, wanted, atol=1e-6)
    tokens = backbone.features(backbone.normalise(pictures), (backbone.depth,)).levels[0]
    patches = F.normalize(backbone.project(tokens)[:, 1:], dim=-1)
    flat = (backbone.logit_scale * patches @ text.t()).softmax(-1)[..., 1]
    assert torch.allclose(grid.flatten(1), flat, atol=1e-6)


@pytest.mark.parametrize("kind", ["backbone", "deep"])
@torch.no_grad()
def test_with_open_gates_it_is_the_papers_equations(kind, request):
    """Eq. 3 and 5, by the backbone's own hooks: replace m text tokens, insert n visual ones."""
    backbone = request.getfixturevalue(kind)
    method = make(backbone)
    torch.nn.init.ones_(method.text_gates)
    torch.nn.init.ones_(method.visual_gates)
    pictures = backbone.normalise(images(1, backbone.size))
    start = backbone.embed(pictures)
    given = method.words + method.to_text(start[:, 1:])
    heard = []

    def replace(layer, tokens):
        if layer:
            heard.append(tokens[:, 1:5].mean(0))
        if layer >= method.depth:
            return tokens
        return torch.cat([tokens[:, :1], given.expand(2, -1, -1), tokens[:, 5:]], 1)

    plain = backbone.prompts(["a photo of a normal Brain", "a photo of a abnormal Brain"])
    first = Prompts(replace(0, plain.embeddings), plain.end)
    text = F.normalize(backbone.encode_text(first, hook=replace), dim=-1)

    def insert(layer, tokens):
        patches = tokens[:, 1 if layer == 0 or layer > method.depth else 3 :]
        if layer >= method.depth:
            return torch.cat([tokens[:, :1], patches], 1)
        visual = method.to_vision[layer](heard[layer][None])
        return torch.cat([tokens[:, :1], visual, patches], 1)

    pooled = backbone.features(pictures, hook=insert, pooled=True).pooled
    wanted = (backbone.logit_scale * F.normalize(pooled, dim=-1) @ text.t()).softmax(-1)[:, 1]
    score, _ = method.predict(images(1, backbone.size))
    assert torch.allclose(score, wanted, atol=1e-5)
    assert not torch.allclose(score, make(backbone).predict(images(1, backbone.size))[0], atol=1e-3)


@torch.no_grad()
def test_cutting_the_text_is_exact(backbone):
    method, whole = opened(make(backbone)), opened(make(backbone))
    full = backbone.prompts(
        ["a photo of a normal Brain", "a photo of a abnormal Brain"], whole=True
    )
    whole.pairs.forward = lambda count, organs=None: Prompts(
        full.embeddings.repeat(count, 1, 1), full.end.repeat(count)
    )
    assert whole.pairs(1).embeddings.shape[1] == 77
    assert method.pairs(1).embeddings.shape[1] == 8
    assert torch.allclose(method.predict(images(3))[0], whole.predict(images(3))[0], atol=1e-6)


def test_a_score_depends_on_no_other_image(backbone):
    method = opened(make(backbone))
    together, maps = method.predict(images(5))
    assert together.unique().numel() == 5
    for i in range(5):
        alone, grid = method.predict(images(5)[i : i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-5)
        assert torch.allclose(grid[0], maps[i], atol=1e-5)


def test_each_image_has_the_sentences_of_its_organ(backbone):
    method = opened(make(backbone, ["Brain", "Chest X-ray film"]))
    prepared = method.prepare(images(2))
    with torch.no_grad():
        both, _ = method.score(method(prepared, torch.tensor([0, 1])))
        for number, organ in enumerate(method.organs):
            alone, _ = opened(make(backbone, organ)).predict(images(2))
            assert torch.allclose(alone[number], both[number], atol=1e-5)


def test_everything_learned_gets_a_gradient_and_nothing_else(backbone):
    method = opened(make(backbone))
    batch = batch_of(method, [0.0, 1.0])
    losses.total(method.terms(method(batch.prepared, batch.organs), batch)).backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert all(p.grad is None for p in method.backbone.model.parameters())
    assert set(method.state_dict()) == {name for name, _ in method.named_parameters()}


def test_closed_gates_can_open(backbone):
    """The first step moves the gates alone, the second all else."""
    method = make(backbone)
    batch = batch_of(method, [0.0, 1.0])
    losses.total(method.terms(method(batch.prepared, batch.organs), batch)).backward()
    moving = {n for n, p in method.named_parameters() if p.grad.abs().max() > 0}
    assert moving == {"text_gates", "visual_gates"}
    assert (method.text_gates.grad != 0).all()
    assert (method.visual_gates.grad != 0).all()


def test_the_loss_is_the_cross_entropy_of_two_sentences(backbone):
    method = opened(make(backbone))
    batch = batch_of(method, [0.0, 1.0, 1.0])
    levels = method(batch.prepared, batch.organs)
    p, _ = method.score(levels)
    wanted = -torch.stack([(1 - p[0]).log(), p[1].log(), p[2].log()]).mean()
    assert torch.allclose(method.terms(levels, batch)["ce"], wanted, atol=1e-6)


def test_the_rate_warms_up_then_falls_as_a_cosine(backbone):
    rates = [make(backbone).rate(epoch) for epoch in range(5)]
    wanted = [1e-5, 0.0035, 0.00316578, 0.00229078, 0.00120922]
    assert rates == pytest.approx(wanted, rel=1e-5)
    assert make(backbone, epochs=1).rate(0) == 0.0035


def test_the_text_alone_can_be_prompted(backbone):
    method = opened(make(backbone, visual_tokens=0, depth=1))
    assert not list(method.to_vision.parameters())
    assert torch.isfinite(method.predict(images(2))[0]).all()


@pytest.mark.parametrize("masked", [True, False])
def test_training_lowers_the_loss_and_repeats(tmp_path, backbone, masked):
    data = tiny.write_pictures(tmp_path, masks=masked)
    shots = draw_shots(read_items(data), 4, 0, size=64, window="auto", plane=None)
    settings = settings_of("conrad", epochs=15, learning_rate=0.05)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        method, seen = build("conrad", backbone, "Brain", settings, masked=masked), []
        train(method, prepare(method, shots, 0), 0, lambda *told, to=seen: to.append(told[2]))
        found.append((seen, method.state_dict()))
    assert found[0][0][-1] < 0.9 * found[0][0][0]
    assert found[0][0] == found[1][0]
    assert all(torch.equal(v, found[1][1][k]) for k, v in found[0][1].items())


def test_a_saved_detector_scores_alike(pictures, backbone, backbone_folder, tmp_path):
    options = FitOptions(
        shots=3,
        method="conrad",
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
