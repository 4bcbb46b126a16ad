"""Change a results file with h5py, and give it the checksums of a file that was written so."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import h5py

from medscan.results.seal import read_seal
from medscan.results.store import seal_results


@contextmanager
def edited(path):
    """Open a results file for changes, and seal it anew."""
    path = Path(path)
    with path.open("r+b") as stream:
        stream.truncate(read_seal(stream).size)
    with h5py.File(path, "r+") as file:
        yield file
    seal_results(path)
