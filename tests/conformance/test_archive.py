"""Index an archive of real files, where it is beside the repository, as other readers see it."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest

from medscan.archive import Bucket, Catalogue, Kind, Outcome, Reason, index

ARCHIVE = Path(__file__).parents[3] / "shared" / "archive"
FILES_AGREED = 851
SERIES_AGREED = 151

pytestmark = pytest.mark.skipif(not ARCHIVE.is_dir(), reason="no archive beside the repository")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return index([ARCHIVE / "files"])


def rows(name: str) -> list[dict[str, str]]:
    csv.field_size_limit(10**8)
    with (ARCHIVE / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def buckets(catalogue: Catalogue) -> dict[str, tuple[Bucket, str]]:
    found = {f.path: (Bucket.SCANNED, "") for s in catalogue.studies for f in s.files()}
    found |= {o.file.path: (o.bucket, f"{o.reason}: {o.detail}") for o in catalogue.set_aside}
    for companion, header in catalogue.companions.items():
        found[companion.path] = found[header.path]
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


def test_every_file_is_in_the_bucket_that_other_readers_expect(catalogue):
    found, outcomes = buckets(catalogue), {o.file.path: o for o in catalogue.set_aside}
    wrong = []
    for row in rows("expected.csv"):
        path = row["path"]
        if not agrees(row, found[path][0], outcomes.get(path)):
            wrong.append(f"{path}: {found[path]}, not {row['expected']} ({row['reason'][:80]})")
    assert len(found) == len(rows("expected.csv"))
    assert len(found) - len(wrong) >= FILES_AGREED, "\n".join(wrong)


def test_series_have_the_members_and_order_that_other_readers_expect(catalogue):
    outcomes = {o.file.path: o for o in catalogue.set_aside}
    home = {}
    stacks = defaultdict(list)
    for study in catalogue.studies:
        for series in study.series:
            for stack in series.stacks:
                if stack.kind is not Kind.DICOM:
                    continue
                names = [(f.file.path, f.index) for f in stack.frames]
                stacks[study.key, stack.key[:16]].append(names)
                home |= dict.fromkeys(names, (study.key, stack.key[:16]))
    expected_files = {row["path"]: row for row in rows("expected.csv")}
    wrong = []
    for row in rows("expected_series.csv"):
        problem = series_problem(row, home, stacks, outcomes, expected_files)
        if problem:
            wrong.append(f"{row['modality']} {json.loads(row['slice_order'])[0]}: {problem}")
    agreed = len(rows("expected_series.csv")) - len(wrong)
    assert agreed >= SERIES_AGREED, "\n".join(wrong)


def series_problem(row, home, stacks, outcomes, expected_files) -> str:
    order = [member(name) for name in json.loads(row["slice_order"])]
    for path, _ in order:
        if path in outcomes and not agrees(
            expected_files[path], outcomes[path].bucket, outcomes[path]
        ):
            return f"{path} is {outcomes[path].reason}"
    order = [name for name in order if name[0] not in outcomes]
    if not order:
        return ""
    keys = {home.get(name) for name in order}
    if len(keys) > 1 or None in keys:
        return f"spread over {keys}"
    found = stacks[keys.pop()]
    found = [[n for n in names if expected_files[n[0]]["expected"] == "scanned"] for names in found]
    flat = [name for names in found for name in names]
    if sorted(flat) != sorted(order):
        return f"members differ: {set(flat) ^ set(order)}"
    if row["order_basis"].startswith("several orientations"):
        return ""  # each orientation is a stack here, ordered by position
    rank = {name: n for n, name in enumerate(order)}
    for names in found:
        if [rank[n] for n in names] != sorted(rank[n] for n in names):
            return f"order differs: {names[:6]}"
    return ""


def member(name: str) -> tuple[str, int]:
    path, _, frame = name.rpartition("#")
    return (path, int(frame)) if path and frame.isdigit() else (name, 0)
