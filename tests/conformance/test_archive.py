"""Index an archive of real files as other readers see it."""

from __future__ import annotations

from medscan.archive import Bucket, Catalogue

from .conftest import agrees, rows

EXPLAINED = {
    "research/neuro/dft/0.dcm": "mosaic: 48 slices do not fit into 256 x 256 pixels",
    "research/neuro/dft/1.dcm": "mosaic: 48 slices do not fit into 256 x 256 pixels",
}
"""Files in another bucket than other readers put them into, and why."""


def buckets(catalogue: Catalogue) -> dict[str, tuple[Bucket, str]]:
    found = {f.path: (Bucket.SCANNED, "") for s in catalogue.studies for f in s.files()}
    found |= {o.file.path: (o.bucket, f"{o.reason}: {o.detail}") for o in catalogue.set_aside}
    for companion, header in catalogue.companions.items():
        found[companion.path] = found[header.path]
    return found


def test_every_file_is_in_the_bucket_that_other_readers_expect(catalogue):
    found, outcomes = buckets(catalogue), {o.file.path: o for o in catalogue.set_aside}
    expected = {row["path"]: row for row in rows("expected.csv")}
    wrong = {
        path: f"{found[path]}, not {row['expected']} ({row['reason'][:80]})"
        for path, row in expected.items()
        if not agrees(row, found[path][0], outcomes.get(path))
    }
    assert set(found) == set(expected)
    assert set(wrong) == set(EXPLAINED), wrong
    assert all(found[path][1].startswith(EXPLAINED[path].split(":")[0]) for path in wrong)
