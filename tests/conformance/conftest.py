"""A messy archive of real files beside the repository, with what other readers say of it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from medscan.archive import Bucket, Catalogue, Outcome, Reason, index

ARCHIVE = Path(__file__).parents[3] / "shared" / "archive"


@pytest.fixture(scope="package")
def catalogue() -> Catalogue:
    if not ARCHIVE.is_dir():
        pytest.skip("no archive beside the repository")
    return index([ARCHIVE / "files"])


def rows(name: str) -> list[dict[str, str]]:
    """Rows of one of its tables; none where there is no archive."""
    if not ARCHIVE.is_dir():
        return []
    before = csv.field_size_limit(10**8)
    with (ARCHIVE / name).open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    csv.field_size_limit(before)
    return found


def acceptable(row: dict[str, str]) -> set[str]:
    words = f"{row['expected']} | {row['also_ok']}".split(" | ")
    return {word.split(":")[0] for word in words if word}


def agrees(row: dict[str, str], bucket: Bucket, outcome: Outcome | None) -> bool:
    if outcome and outcome.reason in (Reason.DUPLICATE, Reason.LOCALIZER):
        return True  # scanned once, or left out by rule
    # What only decoding can tell is told later: a header is enough for "scanned" here.
    undecided = bucket is Bucket.SCANNED and "failed" in acceptable(row)
    return bucket.value in acceptable(row) or undecided
