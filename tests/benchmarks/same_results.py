"""Whether two builds of medscan give the same results, byte for byte.

    python tests/benchmarks/same_results.py BEFORE AFTER

compares two folders that hold what each build wrote from the same input: every data set and
attribute of results files, tables, pictures, and the data that pages embed. Versions, times and
durations are left out. Scans to be compared need the same `--key-file`, or their pseudonyms differ.
Exits with 1 and the first differences when anything differs.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

TIMES = {"created", "seconds", "scanned", "medscan_version"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+\d:.]*|\d{4}-\d\d-\d\d \d\d:\d\d[^\"<]*")
DATA = re.compile(r'<script type="application/json"[^>]*>(.*?)</script>', re.DOTALL)
SHOWN = 20
Items = Iterator[tuple[str, object]]


def items_of(path: Path) -> Items:
    """What a file says, each item with a name."""
    if path.suffix == ".h5":
        yield from results_items(path)
    elif path.suffix == ".html":
        for number, text in enumerate(DATA.findall(path.read_text("utf-8"))):
            yield from json_items(json.loads(text), f"data[{number}]")
    else:
        yield "bytes", path.read_bytes()


def results_items(path: Path) -> Items:
    with h5py.File(path) as file:
        nodes = [("/", file)]
        file.visititems(lambda name, node: nodes.append((name, node)))
        for name, node in nodes:
            for key, value in node.attrs.items():
                if key not in TIMES:
                    yield f"{name}@{key}", (str(np.asarray(value).dtype), str(value))
            if isinstance(node, h5py.Dataset):
                value = np.asarray(node[()])
                content = value.tolist() if value.dtype == object else value.tobytes()
                yield name, (str(value.dtype), value.shape, content)


def json_items(value: object, name: str) -> Items:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in TIMES:
                yield from json_items(inner, f"{name}.{key}")
    elif isinstance(value, list):
        yield f"{name}.length", len(value)
        for number, inner in enumerate(value):
            yield from json_items(inner, f"{name}[{number}]")
    else:
        yield name, TIME.sub("TIME", value) if isinstance(value, str) else value


def files_of(folder: Path) -> set[Path]:
    kinds = {".h5", ".csv", ".html", ".jpg", ".jsonl"}
    return {p.relative_to(folder) for p in folder.rglob("*") if p.suffix in kinds and p.is_file()}


def main(before: Path, after: Path) -> int:
    old, new = files_of(before), files_of(after)
    differences = [f"only in one folder: {path}" for path in sorted(old ^ new)]
    compared: Counter[str] = Counter()
    for path in sorted(old & new):
        was, now = dict(items_of(before / path)), dict(items_of(after / path))
        compared[f"{path.suffix} files"] += 1
        compared[f"{path.suffix} items"] += len(was.keys() | now.keys())
        differences += [
            f"{path}: {name}: {str(was.get(name))[:100]} -> {str(now.get(name))[:100]}"
            for name in sorted(was.keys() | now.keys())
            if was.get(name) != now.get(name)
        ]
    for kind, count in sorted(compared.items()):
        print(f"{count} {kind} compared")
    print(f"{len(differences)} differences", *differences[:SHOWN], sep="\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
