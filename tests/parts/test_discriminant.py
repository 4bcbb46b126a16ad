import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from medscan.parts import PatchShots, discriminant
from medscan.parts.discriminant import Moments

WIDTH = 6


def drawn(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(9))
    x = torch.randn(count, WIDTH, generator=generator) @ mix
    x[:, 0] += shift
    return x


def test_moments_of_parts_add_up_to_those_of_all():
    a, b = drawn(20, 1), drawn(7, 2)
    both, added = Moments.of(torch.cat([a, b])), Moments.of(a) + Moments.of(b)
    assert added.count == 27
    assert torch.allclose(added.mean, torch.cat([a, b]).double().mean(0))
    assert torch.allclose(added.scatter, both.scatter)
    assert torch.allclose(both.scatter / 26, torch.cat([a, b]).double().T.cov())


def test_moments_are_taken_away_and_count_as_many_as_they_should():
    a, b = drawn(20, 1), drawn(7, 2)
    left = Moments.of(torch.cat([a, b])) - Moments.of(b)
    assert left.count == 20
    assert torch.allclose(left.scatter, Moments.of(a).scatter)
    often = Moments.of(a).weighing(60)
    assert often.count == 60
    assert torch.allclose(often.mean, left.mean)
    assert torch.allclose(often.scatter / 60, left.scatter / 20)
    none = Moments.of(a) - Moments.of(a)
    assert none.weighing(60).count == 0


def test_the_plane_is_that_of_linear_discriminant_analysis():
    a, n = drawn(60, 1, shift=2), drawn(90, 2)
    plane = discriminant.fisher(Moments.of(a), Moments.of(n), ridge=0)
    reference = LinearDiscriminantAnalysis(solver="lsqr")
    reference.fit(torch.cat([a, n]).numpy(), [1] * 60 + [0] * 90)
    wanted = torch.from_numpy(reference.coef_[0]).float()
    assert torch.cosine_similarity(plane[:-1], wanted, dim=0) > 0.9999


def test_normals_lie_around_zero_with_deviation_one():
    a, n = drawn(60, 1, shift=2), drawn(90, 2)
    plane = discriminant.fisher(Moments.of(a), Moments.of(n), ridge=0.1)
    on_plane = discriminant.project(n, plane[None])[:, 0]
    assert on_plane.mean().item() == pytest.approx(0, abs=1e-4)
    assert on_plane.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert discriminant.project(a, plane[None]).mean() > 0.5


def test_patches_that_are_all_alike_give_a_finite_plane():
    same = torch.ones(5, WIDTH)
    plane = discriminant.fisher(Moments.of(same), Moments.of(same), ridge=0.1)
    assert plane.isfinite().all()


def test_multiple_instances_find_the_patches_that_differ():
    """One patch in ten of the abnormal images is shifted, and nobody says which."""
    images = torch.stack([drawn(40, seed) for seed in range(12)])
    images[:6, :4, 0] += 12
    normal = [Moments.of(images[6:].flatten(0, 1))]
    far = images[:6].norm(dim=2)
    planes = discriminant.without_masks(
        images[:6, None], far, normal, ridge=0.1, share=0.1, rounds=3
    )
    scores = discriminant.project(images[:6], planes)[..., 0]
    assert {tuple(row.topk(4).indices.sort().values.tolist()) for row in scores} == {(0, 1, 2, 3)}


def test_masks_say_which_patches_are_abnormal_and_which_normal():
    tokens = torch.randn(4, 2, 5, WIDTH)
    labels = torch.tensor([0.0, 1.0, 1.0, 1.0])
    cover = torch.tensor([[0, 0, 0, 0], [0.9, 0.3, 0.2, 0], [0.1, 0, 0, 0.2], [0, 0, 0, 0]])
    known = torch.tensor([True, True, True, False])  # the last one's mask is missing
    part = PatchShots.of(tokens, labels, cover, known)
    assert part.lesion.int().tolist() == [[0] * 4, [1, 1, 0, 0], [0, 0, 0, 1], [0] * 4]
    assert [m.count for m in part.normal] == [4, 4]
    assert [m.count for m in part.abnormal] == [12, 12]
    assert [m.count for m in part.clean] == [4 + 1 + 2] * 2
