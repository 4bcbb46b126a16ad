"""Studies from a real Orthanc."""

from tests import tiny
from tests.pacs import calls, inside


def contents(folder):
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_studies_come_as_they_are_stored(pacs, tmp_path):
    for number in range(2):
        volume = tiny.head_volume(number, 4, 16)
        tiny.write_series(tmp_path / "in" / str(number), volume, study=f"1.2.{number}")
    pacs(inside.fill, tmp_path / "in")
    done = pacs(calls.fetched, tmp_path / "spool")
    assert (done.listed, done.studies, done.fetched, done.problems) == (2, 2, 8, [])
    assert contents(tmp_path / "spool") == contents(tmp_path / "in")
    again = pacs(calls.fetched, tmp_path / "spool")
    assert (again.studies, again.fetched, again.kept) == (2, 0, 8)
