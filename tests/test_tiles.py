"""Tiles: where they lie, how their tokens become one grid, and that no border shows."""

from dataclasses import replace

import pytest
import torch

from medscan import clip
from medscan.clip import Need
from medscan.errors import UsageError, WeightsError
from medscan.fitting import FitOptions, fit
from medscan.methods import METHODS, build, settings_of
from medscan.tiles import Tiling
from tests.methods.test_position import images, learnt

GRIDS = [(1, 2), (2, 3), (3, 2), (4, 2), (5, 4), (16, 3)]
"""Patches along a side of a tower's input, and tiles along one of the square."""
PATCH, REST = 8, 3
"""Pixels of a patch, and those of an input beyond its last whole patch."""


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def tower(request, backbone_folder):
    return clip.load(f"local-dir:{backbone_folder}", precision=request.param, tiles=2)


def places(tiling: Tiling, grid: int) -> torch.Tensor:
    """A token for each patch of each tile, which says where in the square it lies."""
    side = torch.arange(tiling.size).float()
    square = torch.stack(torch.meshgrid(side, side, indexing="ij"))
    corners = torch.stack([view[:2] for view in _views(tiling, square)])
    tokens = corners[:, :, ::PATCH, ::PATCH][:, :, :grid, :grid].flatten(2).transpose(1, 2)
    tokens[0] = 0.0  # of the whole
    return torch.cat([torch.full((len(tokens), 1, 2), 7.0), tokens], 1)[:, None]


def _views(tiling: Tiling, square: torch.Tensor) -> list[torch.Tensor]:
    three = torch.cat([square, square[:1]])[None]
    return [view[0] for view in tiling.cut(three)]


@pytest.mark.parametrize(("grid", "count"), GRIDS)
def test_every_patch_is_where_its_tiles_saw_it(grid, count):
    tiling = Tiling(grid * PATCH + REST, PATCH, grid, count)
    joined = tiling.join(places(tiling, grid))[0]
    assert joined[0].tolist() == [7, 7]
    found = 2 * joined[1:].view(tiling.grid, tiling.grid, 2)
    wanted = torch.arange(tiling.grid).float() * PATCH
    torch.testing.assert_close(found[..., 0], wanted[:, None].expand(-1, tiling.grid))
    torch.testing.assert_close(found[..., 1], wanted[None].expand(tiling.grid, -1))
    assert tiling.size - tiling.grid * PATCH == REST


@pytest.mark.parametrize(("grid", "count"), GRIDS)
def test_the_whole_lies_over_its_tiles(grid, count):
    """Where tiles say nothing, and each patch of the whole its column, patches say theirs."""
    tiling = Tiling(grid * PATCH, PATCH, grid, count)
    views = torch.zeros(count**2 + 1, 1, 1 + grid**2, 1)
    columns = (torch.arange(grid) + 0.5) * tiling.size / grid
    views[0, 0, 1:, 0] = columns.repeat(grid)
    found = 2 * tiling.join(views)[0, 1:].view(tiling.grid, tiling.grid)
    wanted = ((torch.arange(tiling.grid) + 0.5) * PATCH).clamp(columns[0], columns[-1])
    torch.testing.assert_close(found, wanted.expand_as(found))


def test_the_whole_is_shown_small():
    tiling = Tiling(32, PATCH, 4, 3)
    whole, *tiles = tiling.cut(torch.arange(80.0).expand(1, 3, 80, 80))
    middle = (torch.arange(32) + 0.5) * 80 / 32 - 0.5
    assert (whole[0, 0, 5] - middle).abs().max() < 0.1
    assert whole.mean() == pytest.approx(39.5)
    assert [tile[0, 0, 0, 0].item() for tile in tiles] == [0, 24, 48] * 3


@pytest.mark.parametrize(("grid", "count"), GRIDS[3:])
def test_tiles_that_differ_meet_without_a_step(grid, count):
    """Where each tile says a number of its own, neighbours differ by a share of the overlap."""
    tiling = Tiling(grid * PATCH, PATCH, grid, count)
    said = torch.randint(2, (count**2 + 1, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    joined = tiling.join(said.float().expand(-1, 1, 1 + grid**2, 1))
    steps = 2 * joined[0, 1:].view(tiling.grid, tiling.grid)
    least = 1 / (grid - tiling.step + 1) + 1e-6
    assert 0 < max(steps.diff(dim=axis).abs().max() for axis in (0, 1)) <= least


def test_a_square_in_tiles_is_an_image_of_one_tower(tower):
    assert (tower.size, tower.grid, tower.tile) == (112, 7, 64)
    square = images(tower, 2, 0)
    with torch.inference_mode():
        found = tower.features(square, (1, 4), pooled=True)
        tower.tiling, tiling = None, tower.tiling
        whole = tower.features(tiling.cut(square)[0], (1, 4), pooled=True)
        corner = tower.features(square[..., :64, :64], (1, 4))
        tower.tiling = tiling
    assert [level.shape for level in found.levels] == [(2, 50, 32)] * 2
    assert torch.equal(found.pooled, whole.pooled)
    for joined, small, first in zip(found.levels, whole.levels, corner.levels, strict=True):
        assert torch.equal(joined[:, 0], small[:, 0])
        corner_of = [tokens[:, 1].float() for tokens in (joined, small, first)]
        torch.testing.assert_close(corner_of[0], sum(corner_of[1:]) / 2, atol=1e-6, rtol=1e-2)


@pytest.mark.parametrize("name", ["discriminant", "patchcore", "clip"])
def test_a_place_in_the_batch_changes_no_bit(name, tower):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    method, batch = learnt(name, tower), images(tower, 8, 3)
    wanted = method.predict(batch)
    for company in (batch.roll(3, 0), torch.cat([torch.zeros_like(batch)[:3], batch[:5]])):
        for found, first in zip(method.predict(company), wanted, strict=True):
            assert torch.equal(found[3:], first[:5])
    assert wanted[1].shape == (8, 7, 7)
    torch.set_num_threads(before)


def test_a_method_that_reads_between_the_blocks_names_those_that_do_not(tower):
    with pytest.raises(UsageError, match=r"tile by tile; use discriminant, madclip, .*cocoop$"):
        build("mvfa", tower, "Brain", settings_of("mvfa"), masked=True)
    tiled = {n for n in METHODS if not any(map(tower.lacks, METHODS[n].method.needs))}
    assert tiled == {"discriminant", "madclip", "cocoop", "patchcore", "clip"}
    assert tower.lacks(Need.ONE_RUN)


def test_a_square_has_a_largest_side(backbone_folder):
    name = f"local-dir:{backbone_folder}"
    assert clip.load(name, size=304, tiles=4).size == 1024
    with pytest.raises(WeightsError, match="4 tiles of 320 pixels make a square of 1040"):
        clip.load(name, size=320, tiles=4)


def options(backbone_folder, **changes) -> FitOptions:
    name = f"local-dir:{backbone_folder}"
    return FitOptions(shots=3, method="patchcore", backbone=name, folds=2, **changes)


def test_images_that_are_seen_whole_are_refused(backbone_folder, pictures):
    with pytest.raises(UsageError, match=r"no image has more than 48 pixels .* one tile shows 64"):
        fit(pictures, options(backbone_folder, tiles=2))


def test_a_method_that_reads_between_the_blocks_is_refused_before_shots_are_drawn(
    backbone_folder, tmp_path
):
    asked = replace(options(backbone_folder, tiles=3, size=32), method="mvfa")
    with pytest.raises(UsageError, match="tile by tile; use"):
        fit(tmp_path / "not looked for", asked)


def test_a_detector_keeps_its_tiles(backbone_folder, pictures, tmp_path):
    found, method = fit(pictures, options(backbone_folder, tiles=3, size=32))
    assert (method.backbone.size, method.backbone.grid) == (64, 4)
    saved = found.save(tmp_path / "tiled.safetensors", method)
    again = saved.load_method(
        tmp_path / "tiled.safetensors", saved.load_backbone(device="cpu", precision="fp32")
    )
    square = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for one, other in zip(again.predict(square), method.predict(square), strict=True):
        assert torch.equal(one, other)
    assert "tiles" not in fit(pictures, options(backbone_folder))[0].settings
