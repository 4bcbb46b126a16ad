"""Source files found again: the right ones, or a reason why not."""

from dataclasses import replace

import numpy as np
import pytest

from medscan import archive
from medscan.archive import Pseudonyms
from medscan.errors import SourceError
from medscan.reading.sources import Sources
from tests import tiny
from tests.report import make

KEY = Pseudonyms(b"k" * 32)


def volumes(tmp_path):
    """A volume of one name below two roots, and what a scan of each root finds there."""
    found = []
    for number, name in enumerate(("a", "b")):
        root = tmp_path / name
        root.mkdir()
        tiny.write_nifti(root / "v.nii", tiny.head_volume(number))
        (study,) = archive.index([root], pseudonyms=KEY).studies
        found.append(result_of(study))
    return found


def result_of(study, **facts):
    """A study and its only stack as results hold them."""
    (series,) = study.series
    (stack,) = series.stacks
    facts |= {"kind": str(stack.kind), "rows": stack.rows, "columns": stack.columns,
              "plane": str(stack.plane or ""), "SeriesInstanceUID": series.uid}  # fmt: skip
    result = replace(
        make.stack(stack.key, n=len(stack.frames), pictures=0, **facts),
        frame=np.array([frame.index for frame in stack.frames], np.int32),
        sop_instance_uid=[frame.sop_instance_uid for frame in stack.frames],
        path=[KEY.path(frame.file.path) for frame in stack.frames],
    )
    return make.study(study.key, [result], root=KEY.root(stack.frames[0].file))


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


def test_only_headers_of_files_asked_for_are_read(tmp_path, monkeypatch):
    root = tmp_path / "a"
    for name in ("x", "y"):
        tiny.write_series(root / name, tiny.head_volume(1))
    one, two = (result_of(study) for study in archive.index([root], pseudonyms=KEY).studies)
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
