"""A detector in memory gives the scores of a scan, and refuses what it cannot know."""

import threading

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

import medscan
from medscan.errors import DetectorError, TruncatedError, UsageError
from tests import tiny

SLICES = 5
BATCH = 4


@pytest.fixture(scope="module")
def detector(detector_file):
    return medscan.Detector.load(detector_file, device="cpu", batch_size=BATCH, workers=0)


def values(volume):
    """Slices of a volume (x, y, z) as an array (N, H, W)."""
    return volume.transpose(2, 1, 0)


def same(one, other):
    return (
        np.array_equal(one.slice_scores, other.slice_scores, equal_nan=True)
        and np.array_equal(one.patch_maps, other.patch_maps)
        and (one.score, one.threshold, one.percentile)
        == (other.score, other.threshold, other.percentile)
    )


def scanned(detector_file, path, out):
    """The only stack that a scan of a path gives."""
    medscan.scan(path, out, detector=detector_file, device="cpu", batch_size=BATCH, workers=0)
    ((stack,),) = [study.series for study in medscan.open_results(out)]
    return stack


def series(folder, seed=0):
    return tiny.write_series(folder / "series", tiny.head_volume(seed, SLICES))


def nifti(folder):
    return tiny.write_nifti(
        folder / "head.nii.gz", tiny.head_volume(1, SLICES), np.diag([-1, -1, 3, 1])
    )


def picture(folder):
    path = folder / "head.png"
    Image.fromarray((tiny.head_volume(2, SLICES)[:, :, 3] / 4).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("write", [series, nifti, picture])
def test_a_path_has_the_scores_of_a_scan_to_the_bit(write, detector, detector_file, tmp_path):
    path = write(tmp_path)
    found, expected = detector.score(path), scanned(detector_file, path, tmp_path / "r.h5")
    assert same(found, expected)
    assert (found.assumed, found.states) == (expected.assumed, expected.states)
    assert not np.isnan(found.score)
    assert found.detector == detector.name == "tiny-flair"


def test_the_window_is_that_of_the_series(detector, tmp_path):
    """A slice that is drawn alone is drawn in another window."""
    whole = detector.score(series(tmp_path)).slice_scores
    alone = [detector.score(path).score for path in sorted((tmp_path / "series").iterdir())]
    assert not np.array_equal(whole, np.float32(alone))


def test_an_array_has_the_scores_of_its_file(detector, tmp_path):
    volume = tiny.head_volume(0, SLICES)
    of_file = detector.score(series(tmp_path))
    assert same(detector.score(values(volume)), of_file)
    assert same(detector.score(values(volume).astype(np.float64)), of_file)
    pixels = np.asarray(Image.open(picture(tmp_path)))
    assert same(detector.score(pixels), detector.score(picture(tmp_path)))


def test_the_spacing_of_an_array_counts(detector, tmp_path):
    volume = tiny.head_volume(0, SLICES)
    path = tiny.write_nifti(tmp_path / "a.nii", volume[:, ::-1], np.diag([-1.0, 2.0, 3.0, 1.0]))
    found = detector.score(values(volume), spacing=(2.0, 1.0))
    assert same(found, detector.score(path))
    assert not same(found, detector.score(values(volume)))


def test_colours_need_their_axes(detector):
    grey = (values(tiny.head_volume(0, 3)) / 4).astype(np.uint8)
    colour = np.stack([grey, grey // 2, grey // 3], -1)
    found = detector.score(colour, axes="NHWC")
    assert same(found, detector.score(colour.transpose(0, 3, 1, 2), axes="nchw"))
    one = detector.score(colour[1], axes="HWC")
    assert one.score == found.slice_scores[1]
    assert same(detector.score(grey, axes="NHW"), detector.score([*grey, grey[0]][:3], axes="NHW"))


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "words"),
    [
        ((48, 48, 3), np.uint8, None, "say what its axes are"),
        ((3, 48, 48), np.float32, None, "say what its axes are"),
        ((2, 3, 48, 48), np.float32, None, "say what its axes are"),
        ((48,), np.float32, None, "say what its axes are"),
        ((48, 48), np.float32, "NHW", "a letter for each axis"),
        ((5, 48, 48), np.float32, "NHH", "a letter for each axis"),
        ((5, 48, 48), np.float32, "NWC", "a letter for each axis"),
        ((48, 48, 3), np.float32, "HWC", "uint8"),
        ((48, 48, 4), np.uint8, "HWC", "4 colours"),
        ((48, 48), np.complex64, None, "whole or real numbers"),
        ((48, 48), bool, None, "whole or real numbers"),
        ((0, 48, 48), np.float32, None, "one slice"),
        ((2, 48), np.float32, None, "one slice"),
    ],
)
def test_an_array_that_may_be_meant_in_several_ways_is_refused(shape, dtype, axes, words, detector):
    with pytest.raises(UsageError, match=words):
        detector.score(np.zeros(shape, dtype), axes=axes)


def test_no_array_at_all_is_refused(detector):
    for what in (None, [[1.0, 2.0], [3.0]], "\0"):
        with pytest.raises((UsageError, medscan.errors.MedscanError)):
            detector.score(what)
    for spacing in ((0.0, 1.0), 1.0, (1.0,), (1.0, 1.0, 1.0), "ab"):
        with pytest.raises(UsageError, match="spacing="):
            detector.score(np.zeros((9, 9)), spacing=spacing)
    for wrong in ({"axes": 3}, {"stack": 3}, {"spacing": (1.0, float("nan"))}):
        with pytest.raises(UsageError, match="is not of type"):
            detector.score(np.zeros((9, 9)), **wrong)
    detector.score(np.zeros((9, 9)), spacing=np.ones(2))
    with pytest.raises(UsageError, match="of arrays"):
        detector.score("a.nii", spacing=(1.0, 1.0))
    with pytest.raises(UsageError, match="one stack"):
        detector.score(np.zeros((9, 9)), stack="a")


def test_pixels_that_are_no_number_are_the_darkest(detector):
    volume = values(tiny.head_volume(0, SLICES)).astype(np.float32) + 7
    volume[:, :6] = volume.min(axis=(1, 2), keepdims=True)
    expected = detector.score(volume)
    volume[:, :3], volume[:, 3:6] = np.nan, np.inf
    assert same(detector.score(volume), expected)


def test_slices_of_background_have_no_score(detector):
    volume = values(tiny.head_volume(0, SLICES)).copy()
    volume[0] = 0
    found = detector.score(volume)
    assert found.states == ["background", *["scored"] * (SLICES - 1)]
    assert np.isnan(found.slice_scores).tolist() == [True, *[False] * (SLICES - 1)]
    assert np.isnan(found.map(0)).all()
    assert not np.isnan(found.maps()[1:]).any()
    black = detector.score(np.zeros((20, 20)))
    assert np.isnan(black.score)
    assert not black.flagged


def test_what_a_detector_is_not_for_is_refused(detector, tmp_path):
    folder = tiny.write_series(tmp_path / "ct", tiny.head_volume(0, 3), Modality="CT")
    with pytest.raises(UsageError, match="CT"):
        detector.score(folder)


def test_several_stacks_need_a_choice(detector, tmp_path):
    first, second = (series(tmp_path / name, seed) for seed, name in enumerate("ab"))
    with pytest.raises(UsageError, match="2 stacks") as raised:
        detector.score(tmp_path)
    wanted = detector.score(second)
    assert wanted.key in str(raised.value)
    assert same(detector.score(tmp_path, stack=wanted.key), wanted)
    assert not same(detector.score(first), wanted)
    with pytest.raises(UsageError, match="2 stacks"):
        detector.score(tmp_path, stack="nothing")


def test_what_cannot_be_read_is_an_error(detector, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        detector.score(tmp_path / "nothing.nii")
    with pytest.raises(UsageError, match="no image"):
        detector.score(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UsageError, match="not an image"):
        detector.score(tmp_path / "a.txt")
    path = next(series(tmp_path).iterdir())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(TruncatedError, match=path.name):
        detector.score(path)


def test_what_is_lost_of_a_series_is_said(detector, detector_file, tmp_path):
    first, second, *_ = sorted(series(tmp_path).iterdir())
    data = dcmread(first)
    data.file_meta.TransferSyntaxUID = RLELossless
    data.PixelData = encapsulate([b"no run lengths"])
    data["PixelData"].is_undefined_length = True
    data.save_as(first)
    second.write_bytes(second.read_bytes()[:400])
    found = detector.score(tmp_path / "series")
    assert found.states == ["failed", *["scored"] * (SLICES - 2)]
    assert found.failures.keys() == {first.name, second.name}
    assert all(
        why.partition(": ")[0] in ("truncated", "corrupt") for why in found.failures.values()
    )
    of_scan = scanned(detector_file, tmp_path / "series", tmp_path / "r.h5")
    assert of_scan.failures.keys() == {of_scan.paths[0]}
    assert same(found, of_scan)


def test_what_cannot_be_loaded_is_an_error(detector_file):
    with pytest.raises(DetectorError, match="no such file"):
        medscan.Detector.load("nothing")
    for wrong in ({"precision": "fp8"}, {"batch_size": 0}, {"workers": -1}, {"device": "tpu"}):
        with pytest.raises(UsageError):
            medscan.Detector.load(detector_file, **wrong)
    for wrong in ({"batch_size": "4"}, {"target_fpr": "x"}, {"workers": 1.0}, {"device": 0}):
        with pytest.raises(UsageError, match="is not of type"):
            medscan.Detector.load(detector_file, **wrong)
    with pytest.raises(UsageError, match="target-fpr"):
        medscan.Detector.load(detector_file, target_fpr=2)


def test_it_says_what_it_is(detector, detector_file):
    assert repr(detector) == (
        f"<medscan.Detector tiny-flair: BRAIN FLAIR MR axial, {detector.info['method']} on "
        f"{detector.info['backbone']}>"
    )
    strict = medscan.Detector.load(detector_file, device="cpu", target_fpr=0.4)
    assert strict.threshold < detector.threshold == detector.info["threshold"]


def test_threads_of_torch_are_as_before(detector):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        detector.score(np.eye(20))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_threads_wait_for_one_another(detector):
    volume = values(tiny.head_volume(0, SLICES))
    found, expected = [], detector.score(volume)
    threads = [threading.Thread(target=lambda: found.append(detector.score(volume))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(one, expected) for one in found)
    assert len(found) == 2
