"""Results files with bytes overwritten: a report or an export of them, or one line.

About one damage in 200 is told only after some seconds: where it hits the length of a text, HDF5
clears a buffer as large as that says, at most 4 GiB, before it looks for the text.
"""

import random
import shutil

import pytest

from medscan.errors import UsageError
from medscan.export import ExportJob, exporter
from medscan.report import TABLES, write_csv, write_report
from medscan.results import Results
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
    for name in ("nifti", "png", "npz", "csv"):
        list(exporter(name)(ExportJob([results], out / name)))


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_a_damaged_file_is_told_in_a_line(tmp_path, first):
    few = [make.study("aaa", [make.stack("s1", 0.9, 4, pictures=1, size=16, grid=4)])]
    whole = make.results(tmp_path, few).path
    told = []
    for seed in range(first, first + 10):
        results = Results(shutil.copy(whole, tmp_path / f"{seed}.h5"))
        damaged(results.path, seed)
        try:
            used(results, tmp_path / f"{seed}.out")
        except UsageError as error:
            told.append(str(error))
    assert told, "some damage is found"
    assert [len(words.splitlines()) for words in told] == [1] * len(told)
