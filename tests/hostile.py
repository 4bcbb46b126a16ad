"""Detectors and bundles that are not what they claim to be, made from good ones by a seed."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
VALUES = (
    None, True, -1, 0, 1, 20_000, 1 << 63, 10**400, 0.5, -0.25, 1e308, math.nan, math.inf,
    -math.inf, "", "7", "nan", "x" * 200_000, "\x1b[31m\n\0", "../../elsewhere", "~nobody/x",
    "hf-hub:nobody/nothing", "hf_hub:nobody/nothing", "local-dir:/nowhere", [], {}, ["x"], [[1]],
    [1e39], [2, 1], {"a": 1}, {"nested": {"x": [None]}},
)  # fmt: skip
"""What a field may be given in place of its own value."""
FORMATS = ("F64", "I64", "I8", "BOOL")
"""Number formats that no weight has, with `_WIDTHS` bytes each."""
_WIDTHS = {"F64": 8, "I64": 8, "I8": 1, "BOOL": 1}


def detectors(good: Path, folder: Path, count: int, seed: int = 0) -> Iterator[tuple[str, Path]]:
    """Write `count` detectors that differ from a good one; yields what was done, and the file."""
    rng = random.Random(seed)
    header, data = _read(good)
    for number in range(count):
        path = folder / f"hostile-{number}.safetensors"
        if rng.random() < 0.6:
            facts = json.loads(header["__metadata__"]["medscan"])
            done = _change_field(facts, rng)
            changed = header | {"__metadata__": {"medscan": json.dumps(facts)}}
            _write(path, changed, data)
        else:
            done = _change_tensors(path, header, data, rng)
        yield done, path


def bundles(good: Path, folder: Path, count: int, seed: int = 0) -> Iterator[tuple[str, Path]]:
    """Write `count` bundles that differ from a good one; yields what was done, and the folder."""
    rng = random.Random(seed)
    header, data = _read(good / WEIGHTS)
    for number in range(count):
        path = folder / f"bundle-{number}"
        path.mkdir()
        config = json.loads((good / CONFIG).read_text())
        if rng.random() < 0.7:
            done = _change_field(config, rng)
            _write(path / WEIGHTS, header, data)
        else:
            done = _change_tensors(path / WEIGHTS, header, data, rng)
        (path / CONFIG).write_text(json.dumps(config))
        yield done, path


def _change_field(facts: dict[str, Any], rng: random.Random) -> str:
    """Replace, remove or add a field anywhere in facts."""
    owner, key, name = rng.choice(list(_fields(facts)))
    kind = rng.random()
    if kind < 0.1:
        del owner[key]
        return f"without {name}"
    if kind < 0.2 and isinstance(owner, dict):
        key = rng.choice(("timm_model_name", "hf_model_name", "multimodal_cfg", "odd", "size"))
    value = rng.choice(VALUES)
    owner[key] = value
    return f"{name}, {key} = {value!r:.60}"


def _fields(facts: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Every field of nested facts: its owner, its key, and its name."""
    entries = list(facts.items()) if isinstance(facts, dict) else list(enumerate(facts))
    for key, value in entries[:40]:
        yield facts, key, f"{name}.{key}"
        if isinstance(value, dict | list):
            yield from _fields(value, f"{name}.{key}")


def _change_tensors(path: Path, header: dict[str, Any], data: bytes, rng: random.Random) -> str:
    """Write a file whose tensors are cut, renamed, reshaped, of another format or not finite."""
    changed = json.loads(json.dumps(header))
    name = rng.choice([key for key in header if key != "__metadata__"])
    tensor = changed[name]
    kind = rng.choice(("rename", "reshape", "declare", "format", "nan", "cut", "more", "length"))
    if kind == "rename":
        changed["\x1b[31mname" * 200] = changed.pop(name)
    elif kind == "reshape":
        tensor["shape"] = [*tensor["shape"][::-1], 1]
    elif kind == "declare":
        tensor["shape"] = [1 << 40, *tensor["shape"][1:]]
    elif kind == "format":
        tensor["dtype"] = rng.choice(FORMATS)
        size = tensor["data_offsets"][1] - tensor["data_offsets"][0]
        tensor["shape"] = [size // _WIDTHS[tensor["dtype"]]]
    elif kind == "nan":
        start = tensor["data_offsets"][0]
        data = data[:start] + struct.pack("<f", math.nan) + data[start + 4 :]
    elif kind == "cut":
        data = data[: rng.randrange(len(data))]
    elif kind == "more":
        data += bytes(1000)
    _write(path, changed, data, 1 << 60 if kind == "length" else None)
    return f"{kind} of {name}"


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _write(path: Path, header: dict[str, Any], data: bytes, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    path.write_bytes((length or len(text)).to_bytes(8, "little") + text + data)
