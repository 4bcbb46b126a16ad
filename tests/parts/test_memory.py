import pytest
import torch
import torch.nn.functional as F

from medscan.parts import memory


def rows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cells", [1, 7 * 30, 1 << 24])
def test_distances_by_brute_force(monkeypatch, cells):
    monkeypatch.setattr(memory, "CELLS", cells)
    queries, bank = rows(40, 1).view(4, 10, 8), rows(30, 2)
    found = memory.distances(queries, bank)
    for i in range(4):
        for j in range(10):
            wanted = min(1 - F.cosine_similarity(queries[i, j], row, dim=0) for row in bank)
            assert found[i, j].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_no_product_is_larger_than_its_bound(monkeypatch):
    sizes = []

    def recorded(part, bank):
        sizes.append(len(part) * len(bank))
        return F.linear(part, bank)

    monkeypatch.setattr(memory, "CELLS", 300)
    monkeypatch.setattr(memory, "apply_linear", recorded)
    memory.distances(rows(40, 1), rows(30, 2))
    assert sizes == [300] * 4


def test_coreset_keeps_what_is_rare_and_repeats():
    common, rare = torch.ones(100, 8) + 0.05 * rows(100), torch.eye(8)
    features = torch.cat([common, rare])
    chosen = memory.coreset(features, 20)
    assert set(range(100, 108)) <= set(chosen.tolist())
    assert len(set(chosen.tolist())) == 20
    assert torch.equal(chosen, memory.coreset(features, 20))
    assert len(memory.coreset(features, 1000)) == len(features)


def test_leave_one_out_never_asks_the_same_patient():
    features = torch.stack([rows(3, 1), rows(3, 1), rows(3, 2)])
    alike = memory.leave_one_out(features, torch.tensor([0, 1, 2]))
    assert alike[:2].abs().max() < 1e-5
    apart = memory.leave_one_out(features, torch.tensor([0, 0, 1]))
    assert apart[:2].min() > 1e-3


def test_one_patient_alone_has_no_distances():
    features = torch.stack([rows(3, 1), rows(3, 2)])
    assert memory.leave_one_out(features, torch.tensor([4, 4])).isnan().all()
    bank = memory.MemoryBank(1, 8)
    bank.fill([features], torch.tensor([4, 4]), size=0, cls=True)
    assert (bank.middle.item(), bank.spread.item()) == (0, 1)
    assert bank.rows.shape == (1, 6, 8)


def test_a_memory_is_in_single_precision_whatever_the_tower_is_in():
    normals = torch.stack([rows(12, n) for n in range(4)]).bfloat16()
    bank = memory.MemoryBank(1, 8)
    bank.fill([normals], torch.arange(4), size=0, cls=False)
    assert bank.rows.dtype == torch.float32
    assert bank((normals,), scaled=False).abs().max() < 1e-5


def test_scaled_distances_are_probabilities_in_scale():
    normals = torch.stack([rows(12, n) for n in range(4)])
    bank = memory.MemoryBank(1, 8)
    bank.fill([normals], torch.arange(4), size=0, cls=False)
    known, far = bank((normals[:1],), scaled=True), bank((-normals[:1] * 3,), scaled=True)
    assert known.max() == 0  # a remembered feature is nearer than normals are to one another
    assert far.min() >= 0
    assert far.max() <= 1
    assert bank((normals[:1],), scaled=False).abs().max() < 1e-5
