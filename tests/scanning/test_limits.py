"""A file that costs too much time or memory costs only itself, and is accounted for."""

import struct
import zlib

import pytest

from medscan import archive, results
from medscan.errors import TooLargeError, UsageError
from medscan.inspect import forecast_scan
from medscan.reading.decoders import decode
from medscan.reading.jobs import DrawJob
from medscan.scanning import scan
from tests import tiny
from tests.options import changed
from tests.reading.killers import serve_hoarding, serve_killing, serve_sleeping


@pytest.fixture
def third(root, monkeypatch):
    """A series whose third slice kills; the path of that slice."""
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    tiny.write_series(root / "b", tiny.head_volume(2), study="1.2")
    studies = archive.index([root]).studies
    (stack,) = next(s for s in studies if s.uid == "1.1").series[0].stacks
    monkeypatch.setenv("KILLER", stack.frames[2].sop_instance_uid)
    return stack.frames[2].file.path


def failed(summary):
    return {
        entry.file.path: (str(entry.outcome.reason), entry.outcome.detail)
        for entry in summary.entries
        if entry.bucket == "failed"
    }


@pytest.mark.parametrize(
    ("serve", "timeout", "reason", "why"),
    [
        (serve_killing, 60.0, "decoder-died", "its decoder died of SIGABRT"),
        (serve_sleeping, 2.0, "timed-out", "reading it took longer than 2 s"),
    ],
)
def test_a_decoder_that_dies_or_hangs_is_cut_off_and_recorded(
    options, third, serve_with, serve, timeout, reason, why
):
    serve_with(serve)
    summary = scan(changed(options, workers=1, file_timeout_s=timeout))
    assert failed(summary) == {third: (reason, why)}
    assert summary.files == {"scanned": 11, "skipped": 0, "failed": 1}
    (row,) = results.open(options.outputs.out).run().failures
    assert (row[0], row[2]) == (third, reason)


def test_a_dry_run_survives_a_decoder_that_does_not(options, third, serve_with):
    serve_with(serve_killing)
    assert forecast_scan(changed(options, workers=1)).slices == 12


def test_a_worker_gets_no_more_memory_than_its_bound(root, third, serve_with):
    serve_with(serve_hoarding)
    studies = archive.index([root]).studies
    (stack,) = next(s for s in studies if s.uid == "1.1").series[0].stacks
    jobs = [DrawJob(stack, 0, stack.frames, 32, "auto", "MR", limit) for limit in (1 << 20,)]
    ((_, drawn),) = decode(jobs, 1, 60)
    assert [type(d).__name__ for d in drawn].count("Slice") == 5
    assert isinstance(drawn[2], TooLargeError)
    assert "--max-file-gib" in str(drawn[2])


def test_a_file_over_the_limit_fails_by_name(options, root):
    tiny.write_series(root / "small", tiny.head_volume(1), study="1.1")
    tiny.write_series(root / "large", tiny.head_volume(2, side=200), study="1.2")
    summary = scan(changed(options, max_file_bytes=100_000, workers=1))
    assert {reason for reason, _ in failed(summary).values()} == {"too-large"}
    assert {path.split("/")[0] for path in failed(summary)} == {"large"}
    again = scan(options)
    assert (again.scanned, again.files["failed"]) == (1, 0)


def test_a_bomb_fails_as_too_large(options, root):
    """A gzipped NIfTI of 60 KB that unpacks to 64 MB, under a limit of 16."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 400, 400, 200, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(bytes(header)) + packer.compress(bytes(64_000_000)) + packer.flush()
    (root / "bomb.nii.gz").write_bytes(packed)
    summary = scan(changed(options, max_file_bytes=16 << 20, workers=1))
    assert failed(summary)["bomb.nii.gz"][0] == "too-large"


def many_planes(planes, side=2):
    """A gzipped NIfTI of a few KB that declares that many planes, and holds them."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 4, side, side, 1 << 10, planes >> 10, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<h", header, 254, 1)
    for row in range(3):
        struct.pack_into("<f", header, 280 + 20 * row, 1)
    header[344:348] = b"n+1\0"
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(bytes(header) + bytes(side * side * planes)) + packer.flush()


def test_a_small_file_of_many_planes_stops_no_night(options, root):
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    (root / "many.nii.gz").write_bytes(many_planes(1 << 18))
    assert (root / "many.nii.gz").stat().st_size < 5000
    asked = changed(options, workers=1)
    foreseen = forecast_scan(asked)
    assert (foreseen.slices, foreseen.set_aside) == (6, {"too-many-planes": 1})
    summary = scan(asked)
    assert failed(summary) == {"many.nii.gz": ("too-many-planes", "it has 262144")}
    assert summary.files == {"scanned": 6, "skipped": 0, "failed": 1}


def test_bounds_can_be_widened_the_next_night(options, root):
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    narrow = changed(options, workers=1, max_study_planes=5)
    assert forecast_scan(narrow).slices == 0
    reasons = {reason for reason, _ in failed(scan(narrow)).values()}
    assert reasons == {"study-too-large"}
    summary = scan(changed(narrow, max_study_planes=6))
    assert (summary.scanned, summary.files["failed"]) == (1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_file_planes": 0},
        {"max_study_planes": -1},
        {"min_side": 0},
        {"file_timeout_s": 0.0},
        {"file_timeout_s": float("nan")},
        {"file_timeout_s": float("inf")},
        {"max_file_bytes": 0},
        {"settle_s": -1.0},
        {"settle_s": float("nan")},
    ],
)
def test_limits_that_limit_nothing_are_refused(options, root, wrong):
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    with pytest.raises(UsageError, match="--"):
        scan(changed(options, **wrong))
    assert not options.outputs.ledger_path.exists()


def test_versions_are_looked_up_once_and_not_with_every_study(options, monkeypatch):
    told = options.inputs.tools
    monkeypatch.setattr("medscan.options.version", None)
    assert options.inputs.tools == told
    assert "pydicom" in told
