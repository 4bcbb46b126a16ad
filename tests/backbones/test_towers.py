"""A small part of tests/benchmarks/towers.py, and the table that all of it made."""

from pathlib import Path

import pytest

from tests import tiny
from tests.benchmarks import towers

TABLE = Path(towers.__file__).with_name("towers.md")


@pytest.fixture
def tried(tmp_path):
    """A function that tries a tower as the benchmark does."""
    data = tiny.write_pictures(tmp_path / "data", patients=2)
    archive = towers.make_archive(tmp_path / "archive")
    (tmp_path / "work").mkdir()
    with towers.shallow(), towers.loaded_once():
        yield lambda name: towers.try_tower(name, tmp_path / "work", data, archive)


def test_a_tower_is_fitted_and_scans(tried):
    row = tried("test_vit2.r160_in1k")
    assert row.methods == {"patchcore": "yes", "discriminant": "yes"}
    assert float(row.tokens) <= 1e-5
    assert row.why == "it is a vision tower alone"


def test_what_is_no_such_tower_says_so_in_a_line(tried):
    row = tried("test_convnext.r160_in1k")
    assert row.methods == {}
    assert row.why.startswith("its vision tower (ConvNeXt) is not a vision transformer")


def test_the_table_has_every_tower_and_says_why_where_one_does_not_fit():
    lines = TABLE.read_text().splitlines()
    assert lines[: len(towers.HEAD)] == towers.HEAD
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines[len(towers.HEAD) :]}
    assert rows.keys() == set(towers.names())
    for line in rows.values():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        assert "NO SCORE" not in line
        assert "DIFFER" not in line
        assert (
            "yes" in cells or any(cell.startswith("as ") for cell in cells) or len(cells[-1]) > 20
        )
