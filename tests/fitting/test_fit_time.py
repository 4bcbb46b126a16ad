"""The benchmark of whole fits times its parts."""

from tests.benchmarks.fit_time import parts


def test_a_fit_is_all_its_images_in_all_its_trainings(pictures, backbone_folder):
    options = {"backbone": f"local-dir:{backbone_folder}", "settings": {"epochs": 3}}
    features, step, images = parts(pictures, "mvfa", "fp32", 4, 1, folds=2, **options)
    assert features > 0
    assert step > 0
    assert images == 3 * (8 + 4 + 4)
