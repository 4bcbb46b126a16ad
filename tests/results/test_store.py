import dataclasses
import os

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medscan.results
from medscan.errors import DamagedError, DiskError, UsageError
from medscan.results import Results, publish, replacing, write_part
from tests.edited import edited
from tests.report import make


def same(found, wanted):
    """Equal, arrays by value and type, NaN equal to NaN."""
    for field in dataclasses.fields(wanted):
        a, b = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype
        np.testing.assert_equal(a, b, err_msg=field.name)


def test_what_was_written_is_read_back(tmp_path):
    studies = make.few_studies()
    results = make.results(tmp_path, studies)
    assert results.keys() == ["aaa", "bbb", "ccc", "ddd", "eee"]
    for study in studies:
        found = results.study(study.key)
        assert len(found.stacks) == len(study.stacks)
        same(dataclasses.replace(found, stacks=()), dataclasses.replace(study, stacks=()))
        for a, b in zip(found.stacks, study.stacks, strict=True):
            if len(b.thumbnail):
                same(a, b)
    same(results.run(), make.run())


def test_without_arrays_the_heavy_ones_are_empty(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    stack = results.study("aaa", arrays=False).stacks[0]
    assert stack.heatmap.shape == (0, make.GRID, make.GRID)
    assert stack.thumbnail.size == 0
    assert len(stack.slice_score) == 24


def test_ranked_is_worst_first_and_unscored_last(tmp_path):
    results = make.results(tmp_path, reversed(make.few_studies()))
    assert [s.key for s in results.ranked()] == ["aaa", "bbb", "ccc", "ddd", "eee"]


def test_parts_replace_older_results(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    write_part(tmp_path / "p.h5", make.study("ccc", [make.stack("s1", 0.99)]))
    publish(results.path, make.run(), [tmp_path / "p.h5"])
    assert results.keys() == ["aaa", "bbb", "ccc", "ddd", "eee"]
    assert results.study("ccc").score == pytest.approx(0.99)


HOSTILE = st.text(st.characters(codec=None), max_size=20).map(
    lambda text: text.encode("utf-8", "ignore").decode("utf-8")
) | st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(HOSTILE, HOSTILE)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_from_a_file_survives(tmp_path, one, two):
    stack = make.stack("s1", n=1, notes=[one, two], modality=one)
    stack = dataclasses.replace(stack, path=[one], sop_instance_uid=[two])
    study = make.study("aaa", [stack], path=two, skipped=[[one, two]])
    info = make.run(failures=[(one, "read", "corrupt", two)], skipped=[(two, one)], command=one)
    results = make.results(tmp_path, [study], info)
    one_text, two_text = one.replace("\0", "\ufffd"), two.replace("\0", "\ufffd")
    found = results.study("aaa")
    assert found.info["path"] == two_text
    assert found.info["skipped"] == [[one, two]]
    assert found.stacks[0].info["notes"] == [one, two]
    assert found.stacks[0].info["modality"] == one_text
    assert found.stacks[0].path == [one_text]
    assert found.stacks[0].sop_instance_uid == [two_text]
    assert results.run().failures == [(one_text, "read", "corrupt", two_text)]
    assert results.run().command == one_text


@pytest.mark.parametrize("text", ["", "[", "{x", "[]", '{"a": 1}', "\udcff", "a\0b"])
def test_text_that_looks_like_data_stays_text(tmp_path, text):
    results = make.results(tmp_path, [make.study("aaa", modality=text)])
    assert results.study("aaa").info["modality"] == text.replace("\0", "\ufffd")


def test_open_says_what_is_wrong(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        medscan.results.open(tmp_path / "none.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(UsageError, match="is not a results file of this medscan"):
        medscan.results.open(tmp_path / "other.h5")
    whole = make.results(tmp_path, make.few_studies()).path.read_bytes()
    for left in (whole[: len(whole) // 2], b"", bytes(9000)):
        (tmp_path / "cut.h5").write_bytes(left)
        with pytest.raises(DamagedError, match=r"cut\.h5 is damaged, and no study"):
            medscan.results.open(tmp_path / "cut.h5")
    with edited(tmp_path / "results.h5") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(UsageError, match="schema 99"):
        medscan.results.open(tmp_path / "results.h5")


def test_a_failed_replacement_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def fail():
        with replacing(path) as aside:
            aside.write_text("half")
            raise OSError(28, os.strerror(28))

    with pytest.raises(DiskError, match=r"x could not be written: No space left"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_results_open_nothing_between_calls(tmp_path):
    results = Results(make.results(tmp_path, make.few_studies()).path)
    results.run()
    results.path.rename(tmp_path / "moved.h5")
    with pytest.raises(UsageError):
        results.keys()


@pytest.mark.parametrize("way", [{}, {"locking": False}, {"swmr": True}, {"driver": "core"}])
def test_results_are_read_while_this_process_has_them_open_in_any_way(tmp_path, way):
    made = make.results(tmp_path, make.few_studies())
    scores = [study.score for study in made.ranked()]
    with h5py.File(made.path, "r", **way) as other:
        np.testing.assert_equal([study.score for study in Results(made.path).ranked()], scores)
        assert (made.is_damaged(), made.damaged()) == (False, [])
        assert list(other["studies"]) == made.keys()
