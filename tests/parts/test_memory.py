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


def parts(count: int) -> list[torch.Tensor]:
    """So many parts of two images, three levels and ten patches each."""
    return [rows(60, seed).view(2, 3, 10, 8) for seed in range(count)]


def test_a_parted_memory_compares_with_all_other_parts():
    bank, shots = memory.PartedMemory(3, 8), parts(4)
    bank.fill(shots, 0)
    assert bank.rows.shape == (3, 4, 20, 8)
    own = bank.gaps(shots[1])
    assert own.abs().max() < 1e-3  # each of its patches is stored
    others = bank.without(1).gaps(shots[1])
    for level in range(3):
        rest = torch.cat([part[:, level] for n, part in enumerate(shots) if n != 1]).flatten(0, 1)
        wanted = memory.distances(shots[1][:, level], rest) * bank.scale[level]
        assert torch.allclose(others[:, level], wanted, atol=1e-4)


def test_distances_between_parts_have_deviation_one():
    bank, shots = memory.PartedMemory(3, 8), parts(4)
    bank.fill(shots, 0)
    between = torch.cat([bank.without(n).gaps(part) for n, part in enumerate(shots)])
    assert torch.allclose(between.std((0, 2)), torch.ones(3), atol=1e-4)


def test_a_new_image_is_scored_by_the_mean_of_the_memories_that_lack_a_part():
    bank, new = memory.PartedMemory(3, 8), rows(60, 77).view(2, 3, 10, 8)
    bank.fill(parts(4), 6)
    assert bank.rows.shape == (3, 4, 1, 8)
    wanted = torch.stack([bank.without(n)(new) for n in range(4)]).mean(0)
    assert torch.allclose(bank(new), wanted, atol=1e-5)


def test_one_part_alone_is_the_memory():
    bank = memory.PartedMemory(3, 8)
    bank.fill(parts(1), 0)
    assert bank(parts(1)[0]).abs().max() < 1e-3
    assert torch.equal(bank.scale, torch.ones(3))
