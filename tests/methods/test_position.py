"""A slice has the same score and map, to the bit, wherever in a batch and beside whatever it is.

Shards and clusters fill their batches otherwise than one machine does, and must give its bytes.
"""

import pytest
import torch

from medscan import clip
from medscan.methods import METHODS, Examples, build, settings_of

BATCH = 8


@pytest.fixture(autouse=True)
def one_thread():
    """What a scan gives each of its lanes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def precision(request):
    return request.param


@pytest.fixture(scope="module", params=[64, 80], ids=["even", "odd"])
def tower(request, backbone_folder, precision):
    """An odd grid: no vector register is filled at the end of a batch."""
    return clip.load(f"local-dir:{backbone_folder}", precision=precision, size=request.param)


def images(tower, count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, tower.size, tower.size, generator=generator)


def learnt(name: str, tower, *, masked: bool = True):
    """A method with parameters as if it had learnt something, and a memory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        method = build(name, tower, "Brain", settings_of(name), masked=masked)
        for parameter in method.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    method = method.eval().requires_grad_(False)
    with torch.inference_mode():
        prepared = method.prepare(images(tower, 4, 2))
        if method.at_once:
            solve(method, prepared)
        else:
            method.remember([prepared], torch.arange(4))
    return method


def solve(method, prepared):
    """Two folds of a normal and an abnormal image each; its lesion covers two patches."""
    side = method.backbone.size
    masks = torch.zeros(4, 1, side, side, dtype=torch.bool)
    masks[1::2, :, :16, :32] = True
    every = torch.ones(4, dtype=torch.bool)
    shots = Examples(prepared[:, None], torch.arange(4) % 2, masks, every, every)
    method.solve(shots, [torch.arange(4) < 2, torch.arange(4) >= 2])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_a_place_in_the_batch_changes_no_bit(name, tower, masked):
    method, batch = learnt(name, tower, masked=masked), images(tower, BATCH, 3)
    wanted = method.predict(batch)
    for places in range(1, BATCH):
        turned = method.predict(batch.roll(places, 0))
        for found, first in zip(turned, wanted, strict=True):
            assert torch.equal(found, first.roll(places, 0))


@pytest.mark.parametrize("name", METHODS)
def test_company_changes_no_bit(name, tower):
    method, full = learnt(name, tower), images(tower, BATCH, 4)
    other, padded = images(tower, BATCH, 5), torch.zeros_like(full)
    for company in (other, padded):  # a scan fills its last batch with black
        company[:3] = full[:3]
        for found, wanted in zip(method.predict(company), method.predict(full), strict=True):
            assert torch.equal(found[:3], wanted[:3])
