"""Multiple instances on drawn tokens: which slices of abnormal studies differ from normal ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medscan.bags import find as module
from medscan.bags.find import choose, find
from medscan.methods import Levels
from medscan.shots import Item, LabelledSlice

SIDE, WIDTH, SLICES = 4, 8, 6
LESION = 2


class Tokens:
    """Stands for a method whose images are its patches: the first numbers of each image."""

    taps = (1, 2)

    class Backbone:
        device = "cpu"

        def taps(self, depths):
            return (1, 2)

    backbone = Backbone()

    def __init__(self):
        self.most = 0

    def look(self, images):
        self.looked = len(images)

    def prepare(self, images):
        self.most = max(self.most, len(images))
        flat = images[:, 0].flatten(1)[:, : SIDE * SIDE * WIDTH]
        return flat.view(len(images), SIDE * SIDE, WIDTH)

    def __call__(self, patches):
        tokens = torch.cat([torch.zeros(len(patches), 1, WIDTH), patches], 1)
        return Levels((tokens, tokens), ())


def studies(count, *, lesion, first, slices=SLICES, kind=0, shift=0):
    """Slices of noise; with a lesion, two patches of one of them lie far off in one direction.

    All patches are shifted in another one.
    """
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        for index in range(slices):
            image = rng.normal(size=16 * 16).astype(np.float32)
            image[: SIDE * SIDE * WIDTH].reshape(-1, WIDTH)[:, 3] += shift
            if lesion and index == LESION:
                image[: 2 * WIDTH].reshape(2, WIDTH)[:, kind] += 6
            item = Item(f"{number}#{index}", Path(), int(lesion), "")
            square = np.broadcast_to(image.reshape(16, 16), (3, 16, 16))
            yield number, LabelledSlice(item, square, None, (0, 0, 16, 16))


def highest(scores):
    return {bag: max(each, key=each.get) for bag, each in scores.items()}


def search(normals=6, abnormals=6, **more):
    method = Tokens()
    parts = [n % 3 for n in range(normals + abnormals)]
    normal = studies(normals, lesion=False, first=0)
    abnormal = studies(abnormals, lesion=True, first=normals, **more)
    return method, *find(method, parts, normal, abnormal)


def test_the_slice_with_the_lesion_scores_highest_in_its_study():
    _, scores, normal = search()
    chosen = choose(scores, normal, 1)
    assert chosen == {bag: {f"{bag}#{LESION}"} for bag in range(6, 12)}


def test_what_all_patches_of_abnormal_studies_share_is_no_lesion():
    _, scores, _ = search(shift=4)
    assert highest(scores) == {bag: f"{bag}#{LESION}" for bag in range(6, 12)}


def test_a_study_is_scored_by_models_of_other_patients():
    """A lone study whose lesion is of a kind of its own does not teach how to find itself."""
    normal = studies(6, lesion=False, first=0)
    usual = studies(5, lesion=True, first=6)
    odd = studies(1, lesion=True, first=11, kind=5)
    parts = [n % 3 for n in range(11)] + [3]
    scores, _ = find(Tokens(), parts, normal, [*usual, *odd])
    others = [scores[bag][f"{bag}#{LESION}"] for bag in range(6, 11)]
    assert max(scores[11].values()) < min(others)


def test_studies_beyond_those_that_are_held_are_scored_all_the_same(monkeypatch):
    monkeypatch.setattr(module, "HELD", 4 * SLICES)
    _, scores, _ = search()
    assert list(scores) == [10, 11, 6, 7, 8, 9]
    assert highest(scores) == {bag: f"{bag}#{LESION}" for bag in range(6, 12)}


def test_few_slices_are_in_the_tower_at_a_time():
    method, _, _ = search()
    assert method.most == module.BATCH


@pytest.mark.parametrize("patients", [1, 2])
def test_one_patient_of_each_label_is_enough(patients):
    _, scores, normal = search(normals=patients, abnormals=patients)
    assert len(scores) == patients
    assert normal


def test_without_abnormal_or_normal_slices_there_is_nothing_to_find():
    assert find(Tokens(), [0], studies(1, lesion=False, first=0), []) == ({}, [])
    assert find(Tokens(), [0], [], studies(1, lesion=True, first=0)) == ({}, [])


def test_what_is_doubtful_is_left_out_but_not_a_slice_that_is_alone():
    scores = {1: {"a": 0.4, "b": 3.0, "c": 2.0}, 2: {"a": 0.1, "b": 0.2}, 3: {"a": -1.0}}
    normal = [0.0, 0.5, 1.0]
    assert choose(scores, normal, 4) == {1: {"b", "c"}, 2: set(), 3: {"a"}}
    assert choose(scores, normal, 1) == {1: {"b"}, 2: set(), 3: {"a"}}
    # Above the median normal, but with it rather than with the others.
    assert choose({1: scores[1] | {"d": 0.6}}, normal, 4) == {1: {"b", "c"}}
