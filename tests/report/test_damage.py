"""Results files with bytes overwritten: a report and an export of what is left, or one line."""

import random
import shutil

import pytest

from medscan.errors import DamagedError
from medscan.export import ExportJob, exporter
from medscan.report import TABLES, write_csv, write_report
from medscan.results import Results, damage_lines
from tests.report import make


def damaged(path, seed):
    """Overwrite eight short runs of bytes behind the signature."""
    draw, data = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(8):
        at = draw.randrange(64, len(data) - 8)
        data[at : at + 8] = draw.randbytes(8)
    path.write_bytes(data)


def used(results, out):
    write_report([results], out)
    for table in TABLES:
        write_csv([results], out / f"{table}.csv", table)
    for name in ("nifti", "bids", "png", "npz", "csv"):
        list(exporter(name)(ExportJob([results], out / name)))


@pytest.mark.parametrize("first", range(0, 12, 6))
def test_of_a_damaged_file_the_rest_is_used(tmp_path, first):
    few = [
        make.study(key, [make.stack("s1", 0.9, 4, pictures=1, size=16, grid=4)])
        for key in ("aaa", "bbb", "ccc")
    ]
    whole = make.results(tmp_path, few).path
    told = []
    for seed in range(first, first + 6):
        results = Results(shutil.copy(whole, tmp_path / f"{seed}.h5"))
        damaged(results.path, seed)
        try:
            used(results, tmp_path / f"{seed}.out")
        except DamagedError as error:
            told.append(str(error))
        else:
            told += damage_lines([results])
            assert len(results.keys()) + len(results.damaged()) == 3
    assert told, "some damage is found"
    assert [len(words.splitlines()) for words in told] == [1] * len(told)
