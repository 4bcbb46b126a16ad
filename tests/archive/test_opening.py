"""Files are opened below the archive, and through no link."""

import os

import numpy as np
import pytest

from medscan.archive import Kind, index, open_below
from medscan.decoding import file_errors
from medscan.errors import FileError, UnreadableError
from medscan.imaging import read_planes
from medscan.imaging.volume import open_volume
from tests.archive.volumes import VOXELS, archived, meta_image, nrrd, opened

LINK = r"Not a directory|symbolic links"
"""What opening a link says, in the words of the system."""


@pytest.fixture
def archive(tmp_path):
    """An archive with a folder, and a file beside the archive."""
    (tmp_path / "archive" / "sub").mkdir(parents=True)
    (tmp_path / "archive" / "sub" / "x.raw").write_bytes(b"inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.raw").write_bytes(b"beside")
    return tmp_path / "archive"


def test_a_file_below_the_root_is_opened(archive):
    with open_below(archive, "sub/x.raw") as stream:
        assert stream.read() == b"inside"


def test_the_root_itself_may_be_a_link(archive, tmp_path):
    (tmp_path / "link").symlink_to(archive)
    with open_below(tmp_path / "link", "sub/x.raw") as stream:
        assert stream.read() == b"inside"


def test_no_link_is_followed_from_there(archive, tmp_path):
    (archive / "folder").symlink_to(tmp_path / "outside")
    (archive / "file").symlink_to(tmp_path / "outside" / "x.raw")
    (archive / "within").symlink_to(archive / "sub" / "x.raw")
    for path in ("folder/x.raw", "file", "within"):
        with pytest.raises(OSError, match=LINK):
            open_below(archive, path)


@pytest.mark.parametrize("path", ["../outside/x.raw", "sub/../../outside/x.raw", "/etc", "..", ""])
def test_no_path_leads_upwards(archive, path):
    with pytest.raises((UnreadableError, OSError)):
        open_below(archive, path)


def test_only_regular_files_are_opened(archive):
    os.mkfifo(archive / "fifo")
    for path in ("fifo", "sub"):
        with pytest.raises(UnreadableError, match="regular"):
            open_below(archive, path)


@pytest.mark.parametrize("write", [nrrd, meta_image])
def test_voxels_are_not_read_through_a_link_that_took_their_place(tmp_path, write):
    """A link put there after the archive was walked."""
    folder, other = tmp_path / "archive", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    for place, voxels in ((folder, VOXELS), (other, VOXELS + 1)):
        (place / "x.raw").write_bytes(voxels.tobytes(order="F"))
    if write is nrrd:
        path = nrrd(folder / "v.nhdr", "data file: ./x.raw\n", b"")
    else:
        path = meta_image(folder / "v.mhd", data=b"", voxels="./x.raw")
    np.testing.assert_array_equal(opened(path)[0], VOXELS)
    (study,) = index([folder]).studies
    (stack,) = study.series[0].stacks
    (folder / "x.raw").unlink()
    (folder / "x.raw").symlink_to(other / "x.raw")
    open_volume.cache_clear()
    assert all(isinstance(p, FileError) for p in read_planes(stack, stack.frames, 1 << 20))
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with file_errors(), pytest.raises(OSError, match=LINK):
        open_volume(archived(path, tmp_path), Kind.ITK, 1 << 20)


def test_the_voxels_are_those_that_the_header_of_now_names(tmp_path):
    """What is checked and what is read come from one parser: an unchecked name is not read."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "x.raw").write_bytes(VOXELS.tobytes(order="F"))
    path = meta_image(tmp_path / "archive" / "v.mhd", data=b"", voxels="../x.raw")
    with pytest.raises(FileError, match="outside its own folder"):
        open_volume(archived(path), Kind.ITK, 1 << 20)
