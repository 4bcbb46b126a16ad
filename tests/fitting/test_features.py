import os
import stat

import pytest
import torch

from medscan.errors import UsageError
from medscan.fitting.features import FeatureCache, View, cache_of_user, feature_name
from medscan.fitting.train import batches, prepare, unprepared
from medscan.methods import build, settings_of
from medscan.shots import read_items
from medscan.shots.shots import draw_shots


@pytest.fixture
def shots(pictures):
    return draw_shots(read_items(pictures), 2, 0, size=64, window="auto", plane=None)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features", 10**9)


def built(backbone, name="madclip", **settings):
    return build(name, backbone, "Brain", settings_of(name, **settings), masked=True)


@pytest.mark.parametrize("name", ["mvfa", "madclip", "discriminant"])
def test_the_next_fit_finds_the_same_features(name, shots, backbone, cache):
    method, computed = built(backbone, name), []
    method.look(shots.images)
    without = prepare(method, shots, 0).tokens
    for wanted in (4, 0):
        computed.clear()
        assert unprepared(method, shots, 0, cache) == wanted
        found = prepare(method, shots, 0, cache, lambda: computed.append(1)).tokens
        assert torch.equal(found, without)
        assert len(computed) == wanted


def test_only_what_decides_features_is_in_their_name(shots, backbone):
    image, view = shots.images[0], View((0, 2), (0.9, 1.1))
    name = feature_name(built(backbone), image, view)
    assert name == feature_name(built(backbone, learning_rate=0.1, batch=2), image, view)
    others = {
        feature_name(built(backbone), image + 0.001, view),
        feature_name(built(backbone), image, View((0, 3), (0.9, 1.1))),
        feature_name(built(backbone), image, View((0, 2), (0.9, 1.2))),
        feature_name(built(backbone, normalise=False), image, view),
        feature_name(built(backbone, augmentation="flip"), image, view),
        feature_name(built(backbone, "mvfa"), image, view),
    }
    assert len(others) == 6
    assert name not in others


def test_only_the_variants_that_a_training_visits_are_computed(shots, backbone):
    few, every = built(backbone, epochs=3), built(backbone, epochs=16)
    some, whole = prepare(few, shots, 0), prepare(every, shots, 0)
    assert some.tokens.shape[1] == some.masks.shape[1] == 3
    assert whole.tokens.shape[1] == 16
    for image in range(len(shots)):
        assert torch.equal(some.tokens[image, 0], whole.tokens[image, 0])
        found = [
            int((whole.tokens[image] == t).flatten(1).all(1).nonzero()[0])
            for t in some.tokens[image]
        ]
        assert len(set(found)) == 3
        assert torch.equal(some.masks[image], whole.masks[image][found])
    rows = torch.cat(batches(len(shots), few, torch.Generator().manual_seed(0)))
    assert int(rows[:, 1].max()) < 3


def test_features_are_for_their_owner_alone(shots, backbone, cache):
    old = os.umask(0)
    try:
        prepare(built(backbone), shots, 0, cache)
    finally:
        os.umask(old)
    files = list(cache.folder.iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "folder"])
def test_damaged_features_are_not_there(damage, shots, backbone, cache):
    method = built(backbone)
    wanted = prepare(method, shots, 0, cache).tokens
    for path in cache.folder.iterdir():
        data = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
            continue
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"cut": data[:-9], "emptied": b"", "flipped": flipped}[damage])
    assert torch.equal(prepare(method, shots, 0, cache).tokens, wanted)


def test_the_least_recently_used_go_first(tmp_path):
    one = torch.zeros(100)
    first = FeatureCache(tmp_path, 2000)
    for name in ("a", "b", "c"):
        first.keep(name, one)
    for age, name in enumerate(("c", "a", "b")):
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    later = FeatureCache(tmp_path, 2000)
    assert later.find("b") is not None
    later.keep("d", one)
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c", "d"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000


def test_a_fit_that_needs_more_than_the_cache_holds_keeps_its_first(tmp_path):
    cache = FeatureCache(tmp_path, 1200)
    for name in ("a", "b", "c", "d"):
        cache.keep(name, torch.zeros(100))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_folder_that_cannot_be_written_ends_no_fit(shots, backbone, tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file" / "features", 10**9)
    method = built(backbone)
    assert torch.equal(prepare(method, shots, 0, cache).tokens, prepare(method, shots, 0).tokens)
    assert caplog.text.count("features are not kept for the next fit") == 1


def test_the_environment_says_where_and_how_large(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MEDSCAN_FEATURE_CACHE", "0.5")
    cache = cache_of_user()
    assert (cache.folder, cache.limit) == (tmp_path / "medscan" / "features", 5 * 10**8)
    monkeypatch.delenv("MEDSCAN_FEATURE_CACHE")
    assert cache_of_user().limit == 2 * 10**9
    monkeypatch.setenv("MEDSCAN_FEATURE_CACHE", "0")
    cache_of_user().keep("a", torch.zeros(1))
    assert not list(tmp_path.iterdir())
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("MEDSCAN_FEATURE_CACHE", wrong)
        with pytest.raises(UsageError, match="give a number of gigabytes"):
            cache_of_user()
