"""Voxels in a file of their own (.img of .hdr) are part of what a study is known by."""

import os

import pytest

from medscan.scanning import scan
from tests import tiny
from tests.options import changed


@pytest.fixture
def pair(root):
    tiny.write_nifti(root / "head.hdr", tiny.head_volume(1, slices=2))
    return root


def test_new_voxels_below_an_old_header_are_scanned(options, pair):
    assert scan(options).scanned == 1
    assert scan(options).scanned == 0
    (pair / "head.img").write_bytes(bytes((pair / "head.img").stat().st_size))
    os.utime(pair / "head.img", (1, 1))
    assert scan(options).scanned == 1


def test_voxels_replaced_during_the_scan_are_not_taken_for_the_old_ones(options, pair):
    for name in "ab":
        tiny.write_series(
            pair / name, tiny.head_volume(ord(name), slices=3), study=f"1.{ord(name)}"
        )

    def touch(*_):
        os.utime(pair / "head.img", (1, 1))

    summary = scan(changed(options, batch_size=1), touch)
    assert summary.reasons["unreadable"] == 2  # the header and its voxels
    assert scan(options).scanned == 1
