"""What a results file says, for comparing two."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np


def content(path: Path) -> dict[str, bytes]:
    """Every score, map and attribute of the studies, without timings."""
    found = {}

    def visit(name, item):
        for key, value in item.attrs.items():
            if key not in ("seconds", "scanned"):
                found[f"{name}@{key}"] = np.asarray(value).tobytes() + str(value).encode()
        if isinstance(item, h5py.Dataset):
            value = item[()]
            found[name] = _bytes(value)

    with h5py.File(path, "r") as file:
        file["studies"].visititems(visit)
    return found


def _bytes(value):
    if isinstance(value, bytes):
        return value
    return str(value.tolist()).encode() if value.dtype == object else value.tobytes()


def seen(path):
    """Scores and maps: what does not depend on the times of files."""
    times = ("@content", "@source", "@asked")
    return {name: data for name, data in content(path).items() if not name.endswith(times)}
