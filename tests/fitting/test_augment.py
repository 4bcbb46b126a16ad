"""Variants against the authors' own, and their geometry."""

import pytest
import torch
import torch.nn.functional as F

from medscan.fitting import augment
from tests.golden import off, read


def picture(side: int = 40) -> torch.Tensor:
    """One smooth picture (1, 3, S, S) with a bright spot off the middle."""
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    spot = torch.exp(-(((x - 0.6) ** 2 + (y - 0.4) ** 2) / 0.02))
    return torch.stack([spot, 0.5 * spot + 0.2, 0.3 + 0.4 * x])[None]


@pytest.mark.parametrize(("recipe", "count"), [("mvfa", 11), ("madclip", 16)])
def test_variants_are_the_authors(recipe, count):
    golden = read(recipe)
    found = augment.variants(golden["augment.in_images"], recipe)
    if recipe == "madclip":
        factors = golden["augment.factors"].expand(2, 2)
        unchanged = found[:, augment.JITTER]
        found[:, augment.JITTER] = augment.jitter(unchanged, factors, by_column=True)
    masks = augment.variants(golden["augment.in_masks"], recipe)
    assert found.shape[1] == augment.count(recipe) == count
    # Theirs has all images of the first variant, then of the next.
    assert off(found.transpose(0, 1).flatten(0, 1), golden["augment.images"]) < 1e-5
    assert off(masks.transpose(0, 1).flatten(0, 1), golden["augment.masks"]) < 1e-5


@pytest.mark.parametrize("recipe", sorted(augment.RECIPES))
def test_the_first_variant_is_the_image_and_a_mask_moves_with_it(recipe):
    image = picture()
    mask = (image[:, :1] > 0.5).float()
    found = augment.variants(image, recipe)[0]
    masks = augment.variants(mask, recipe)[0] > 0.5
    assert torch.equal(found[0], image[0])
    for variant, moved in zip(found, masks, strict=True):
        again = variant[:1] > 0.5
        assert (again & moved).sum() / (again | moved).sum() > 0.9


def test_variants_are_what_they_are_called():
    image = picture()
    plain = augment.variants(image, "mvfa")[0]
    zoomed = augment.variants(image, "madclip")[0]
    assert torch.equal(plain[9], image[0].flip(-1))
    assert torch.equal(plain[10], image[0].flip(-2))
    assert torch.equal(zoomed[augment.JITTER], image[0])
    kept = [n for n in range(16) if n not in range(9, 14)]
    assert torch.equal(zoomed[kept], plain)
    # Opposite turns undo each other, but for what a corner loses.
    undone = augment.variants(plain[1:2], "mvfa")[0, 4]
    middle = (slice(None), slice(12, 28), slice(12, 28))
    assert torch.allclose(undone[middle], image[0][middle], atol=0.03)
    # A tenth of the grid's coordinates is a twentieth of the side.
    assert torch.allclose(plain[5][:, :36, :36], image[0][:, 2:38, 2:38], atol=1e-5)
    wide = F.interpolate(image[..., 2:38, 2:38], (40, 40), mode="bilinear")
    assert torch.allclose(zoomed[9], wide[0], atol=1e-5)


def test_jitter_is_about_the_images_mean_and_stays_in_range():
    image = picture()
    assert torch.allclose(augment.jitter(image, torch.ones(1, 2)), image, atol=1e-6)
    brighter = augment.jitter(image, torch.tensor([[1.2, 1.0]]))
    assert torch.allclose(brighter, (1.2 * image).clamp(0, 1), atol=1e-6)
    flat = augment.jitter(image, torch.tensor([[1.0, 0.0]]))
    assert torch.allclose(flat, image.mean().expand_as(image), atol=1e-6)
    columns = augment.jitter(image, torch.tensor([[1.0, 0.0]]), by_column=True)
    assert torch.allclose(columns, image.mean((1, 2), keepdim=True).expand_as(image), atol=1e-6)
    for factors in ([[0.8, 1.2]], [[1.2, 1.2]]):
        found = augment.jitter(image, torch.tensor(factors))
        assert found.min() >= 0
        assert found.max() <= 1


def test_factors_repeat_and_stay_in_range():
    drawn = [augment.jitter_factors(50, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (50, 2)
    assert drawn[0].min() >= 0.8
    assert drawn[0].max() <= 1.2
    assert drawn[0].std() > 0.05
