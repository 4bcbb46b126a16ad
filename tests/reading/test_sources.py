"""Source files found again: the right ones, or a reason why not."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from medscan import archive
from medscan.archive import Pseudonyms
from medscan.errors import SourceError
from medscan.reading.sources import Sources
from tests import tiny
from tests.report import make
from tests.report.archived import result_of

KEY = Pseudonyms(b"k" * 32)


def volumes(tmp_path):
    """A volume of one name below two roots, and what a scan of each root finds there."""
    made = []
    for number, name in enumerate(("a", "b")):
        root = tmp_path / name
        root.mkdir()
        tiny.write_nifti(root / "v.nii", tiny.head_volume(number))
        (study,) = archive.index([root], pseudonyms=KEY).studies
        made.append(found(study))
    return made


def found(study):
    """A study and its only stack as results hold them."""
    (series,) = study.series
    (stack,) = series.stacks
    paths = [KEY.path(frame.file.path) for frame in stack.frames]
    result = replace(result_of(series, stack), path=paths)
    root = KEY.root(stack.frames[0].file)
    return make.study(study.key, [result], root=root, patient=study.patient_id)


def home(sources, study):
    return {frame.file.root.name for frame in sources.stack(study, study.stacks[0]).frames}


def test_the_same_path_below_two_roots_is_two_sources(tmp_path):
    one, two = volumes(tmp_path)
    assert one.stacks[0].key == two.stacks[0].key
    sources = Sources([tmp_path / "a", tmp_path / "b"], [KEY])
    assert [home(sources, study) for study in (one, two)] == [{"a"}, {"b"}]


def test_a_file_below_another_root_is_not_taken(tmp_path):
    one, two = volumes(tmp_path)
    sources = Sources([tmp_path / "b"], [KEY])
    assert home(sources, two) == {"b"}
    with pytest.raises(SourceError, match="below another folder than the one that was scanned"):
        home(sources, one)


def test_results_that_do_not_say_their_root_go_by_the_study(tmp_path):
    one, _ = volumes(tmp_path)
    old = replace(one, info={k: v for k, v in one.info.items() if k != "root"})
    assert home(Sources([tmp_path / "a"], [KEY]), old) == {"a"}
    with pytest.raises(SourceError, match="is not in the archive named"):
        home(Sources([tmp_path / "a"], [KEY]), replace(old, stacks=(make.stack("other"),)))


def test_what_was_written_by_another_key_is_found_beside(tmp_path):
    one, _ = volumes(tmp_path)
    assert home(Sources([tmp_path / "a"], [Pseudonyms(b"x"), KEY]), one) == {"a"}


def test_a_volume_that_has_changed_is_refused(tmp_path):
    one, _ = volumes(tmp_path)
    tiny.write_nifti(tmp_path / "a" / "v.nii", tiny.head_volume(1)[:, :, :3])
    with pytest.raises(SourceError, match="changed since it was scanned"):
        home(Sources([tmp_path / "a"], [KEY]), one)


def series(tmp_path):
    """A series in a folder `a`, and what a scan finds there."""
    tiny.write_series(tmp_path / "a", tiny.head_volume(1))
    (study,) = archive.index([tmp_path / "a"], pseudonyms=KEY).studies
    return found(study)


def edit(tmp_path, change):
    """Change every file of the series."""
    for path in (tmp_path / "a").iterdir():
        ds = pydicom.dcmread(path)
        change(ds)
        ds.save_as(path)


def move(ds, axis=2, by=30.0):
    ds.ImagePositionPatient[axis] = float(ds.ImagePositionPatient[axis]) + by


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (move, "slice 1 lies elsewhere"),
        (lambda ds: move(ds, axis=0), "slice 1 lies elsewhere"),
        (lambda ds: setattr(ds, "PixelSpacing", [2, 2]), "another pixel spacing"),
        (lambda ds: setattr(ds, "ImageOrientationPatient", [0, 1, 0, 1, 0, 0]), "another orient"),
        (lambda ds: delattr(ds, "ImagePositionPatient"), "slice 1 lies elsewhere"),
        (lambda ds: setattr(ds, "PatientID", "OTHER"), "another patient"),
        (lambda ds: setattr(ds, "PatientID", ""), "another patient"),
    ],
)
def test_a_series_whose_header_says_something_else_is_refused(tmp_path, change, why):
    one = series(tmp_path)
    edit(tmp_path, change)
    with pytest.raises(SourceError, match=f"changed since it was scanned: {why}"):
        home(Sources([tmp_path / "a"], [KEY]), one)


def test_a_series_that_was_only_written_anew_is_taken(tmp_path):
    one = series(tmp_path)
    edit(tmp_path, lambda ds: (move(ds, by=1e-5), setattr(ds, "SeriesDescription", "x" * 40)))
    assert home(Sources([tmp_path / "a"], [KEY]), one) == {"a"}


def test_results_that_do_not_know_the_patient_are_found(tmp_path):
    one = series(tmp_path)
    edit(tmp_path, lambda ds: setattr(ds, "PatientID", "OTHER"))
    assert home(Sources([tmp_path / "a"]), one) == {"a"}
    old = replace(one, info={k: v for k, v in one.info.items() if k != "patient"})
    assert home(Sources([tmp_path / "a"], [KEY]), old) == {"a"}


def test_a_volume_that_lies_elsewhere_is_refused(tmp_path):
    one, _ = volumes(tmp_path)
    moved = np.diag([1.0, 1.0, 1.0, 1.0])
    moved[:3, 3] = 30
    tiny.write_nifti(tmp_path / "a" / "v.nii", tiny.head_volume(0), moved)
    with pytest.raises(SourceError, match="changed since it was scanned: another"):
        home(Sources([tmp_path / "a"], [KEY]), one)


def test_only_headers_of_files_asked_for_are_read(tmp_path, monkeypatch):
    root = tmp_path / "a"
    for name in ("x", "y"):
        tiny.write_series(root / name, tiny.head_volume(1))
    one, two = (found(study) for study in archive.index([root], pseudonyms=KEY).studies)
    read, index = [], archive.index

    def watched(*words, walked, **options):
        read.append(len(walked))
        return index(*words, walked=walked, **options)

    monkeypatch.setattr(archive, "index", watched)
    names = set(one.stacks[0].path)
    count = len(names)
    assert home(Sources([root], [KEY], names), one) == {"a"}
    assert read == [count]
    # One that lies elsewhere by now is looked for everywhere.
    (folder,) = {
        f.file.full.parent for f in Sources([root], [KEY]).stack(one, one.stacks[0]).frames
    }
    folder.rename(root / "z")
    assert home(Sources([root], [KEY], names), one) == {"a"}
    assert read[-1] == 2 * count
    assert home(Sources([root], [KEY], names), two) == {"a"}
