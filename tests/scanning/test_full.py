"""A disk that is full at any stage: nothing published is damaged, and later all is well."""

import os
import shutil
import subprocess

import pytest

from medscan import results
from medscan.files import forgiving
from medscan.scanning import scan
from tests import tiny
from tests.content import content
from tests.options import changed, small_scan
from tests.processes import run_limited, warm


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    folder = tmp_path_factory.mktemp("five")
    for number in range(5):
        volume = tiny.head_volume(number, slices=8)
        tiny.write_series(folder / str(number), volume, study=f"1.{number}")
    return folder


@pytest.fixture(scope="module")
def expected(five, detector_file, tmp_path_factory):
    """What an undisturbed scan finds."""
    whole = small_scan(five, detector_file, tmp_path_factory.mktemp("whole"))
    scan(whole)
    return content(whole.outputs.out)


@pytest.fixture
def options(options, five):
    """A scan of all five."""
    return changed(options, roots=(five,))


def end_of(options, limit=None, *, looks=True):
    """How a scan ended that could write no more."""
    ours, theirs = warm().Pipe()
    process = warm().Process(target=run_limited, args=(options, limit, looks, theirs))
    process.start()
    theirs.close()
    told = ours.recv()
    process.join()
    assert process.exitcode == 0  # not of a signal, as of the HDF5 library's
    return told


def check_left(folder):
    names = [path.name for path in folder.rglob("*")]
    assert not [name for name in names if name.endswith(".part")]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 3_000, 20_000, 50_000, 100_000])
def test_whatever_file_cannot_grow(options, expected, limit, tmp_path):
    told = end_of(options, limit)
    assert "File too large" in told or "database or disk is full" in told or "disk I/O" in told
    check_left(tmp_path)
    if options.outputs.out.exists():
        results.open(options.outputs.out).ranked()
    assert end_of(options) == ""
    assert content(options.outputs.out) == expected
    assert not options.outputs.parts.exists()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [20_000, 100_000])
def test_older_results_stay_as_they_are(options, five, root, limit, tmp_path):
    shutil.copytree(five, root, dirs_exist_ok=True)
    options = changed(options, roots=(root,))
    scan(options)
    before = options.outputs.out.read_bytes()
    tiny.write_series(root / "new", tiny.head_volume(9, slices=60), study="1.9")
    assert end_of(options, limit)
    assert options.outputs.out.read_bytes() == before
    check_left(tmp_path)
    assert end_of(options) == ""
    assert len(results.open(options.outputs.out).keys()) == 6


@pytest.fixture
def small(tmp_path):
    """Mounts a file system of a few KiB."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(kib):
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder)],
            capture_output=True,
            check=False,
        )
        if made.returncode:
            pytest.skip("may not mount a file system here")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("kib", [8, 60, 150, 250])
def test_a_disk_that_is_really_full(options, expected, small, kib, looks):
    folder = small(kib)
    tight = changed(options, out=folder / "results.h5")
    told = end_of(tight, looks=looks)
    assert "MiB free" in told or "No space left" in told or "disk is full" in told
    check_left(folder)
    if tight.outputs.out.exists():
        results.open(tight.outputs.out).ranked()
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
    assert end_of(tight) == ""
    assert content(tight.outputs.out) == expected


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_library_sees_no_write_fail(tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), forgiving(tmp_path / "full") as stream:
        assert [stream.write(b"abc"), stream.write(b"de")] == [3, 2]
