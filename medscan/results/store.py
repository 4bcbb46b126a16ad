"""results.h5: written whole and moved into place, read back study by study.

The layout is documented in man/medscan-results.5.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medscan import __version__
from medscan.errors import DiskError, UsageError
from medscan.files import replacing
from medscan.results.types import RunInfo, StackResult, StudyResult

SCHEMA = 1
SPARE = 4 << 20
"""Bytes that a results file may need beyond its studies."""
ARRAYS = ("slice_score", "state", "heatmap", "frame", "position_mm", "grid_to_pixel")
TEXTS = ("path", "sop_instance_uid")
NAMES = {"slice_score": "score"}
"""Data sets whose name in the file differs from the field's."""
LISTS = ("orientation", "pixel_spacing", "origin", "last", "notes", "skipped")
"""Attributes that are lists, kept as JSON."""
COMPRESSED = {"compression": "gzip", "shuffle": True}


# --- writing -----------------------------------------------------------------------------------


def write_part(path: Path, study: StudyResult) -> None:
    """Write one study as a complete file of its own, or not at all.

    Raises
    ------
    DiskError
        It could not be written.
    """
    # Made in memory: the HDF5 library does not survive a disk that is full when it closes a file.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        _write_study(file.create_group("studies"), study)
    with replacing(path) as aside:
        aside.write_bytes(memory.getbuffer())


def _write_study(parent: Any, study: StudyResult) -> None:
    group = parent.create_group(study.key)
    _put_attributes(group, study.info)
    group.attrs["score"] = study.score
    group.attrs["percentile"] = study.percentile
    group.attrs["flagged"] = study.flagged
    for stack in study.stacks:
        _write_stack(group.create_group(stack.key), stack)


def _write_stack(group: Any, stack: StackResult) -> None:
    _put_attributes(group, stack.info)
    group.attrs["score"] = stack.score
    group.attrs["percentile"] = stack.percentile
    for name in ARRAYS:
        array = getattr(stack, name)
        chunks = (1, *array.shape[1:]) if name == "heatmap" and array.size else None
        options = COMPRESSED if array.size else {}
        group.create_dataset(NAMES.get(name, name), data=array, chunks=chunks, **options)
    for name in TEXTS:
        _put_texts(group, name, getattr(stack, name))
    if len(stack.thumbnail):
        group.create_dataset("thumbnail", data=stack.thumbnail, **COMPRESSED)
    group.create_dataset("thumbnail_index", data=stack.thumbnail_index)


def _put_attributes(group: Any, info: dict[str, Any]) -> None:
    """Scalars as they are, lists as JSON: readable everywhere."""
    for name, value in info.items():
        value = json.dumps(value) if name in LISTS else value
        if isinstance(value, str):
            group.attrs.create(name, _utf8(value), dtype=h5py.string_dtype("utf-8"))
        else:
            group.attrs[name] = value


def _utf8(text: str) -> bytes:
    """Bytes of a text from a file name or header: HDF5 strings cannot hold NUL."""
    return text.replace("\0", "\ufffd").encode("utf-8", "surrogateescape")


def _put_texts(group: Any, name: str, texts: Iterable[str]) -> None:
    data = [_utf8(text) for text in texts]
    group.create_dataset(name, data=data, dtype=h5py.string_dtype("utf-8"), shape=(len(data),))


def publish(path: Path, run: RunInfo, parts: Sequence[Path]) -> None:
    """Replace results.h5 by its studies plus the parts, in one rename.

    Parameters
    ----------
    path : Path
        results.h5; it need not exist.
    run : RunInfo
        What the new file says of itself.
    parts : sequence of Path
        Files of `write_part`; a study in one of them replaces its older result.

    Raises
    ------
    DiskError
        It could not be written; the old file is as it was.
    """
    _check_space(path, parts)
    with replacing(path) as aside, h5py.File(aside, "w") as file:
        _write_run(file, run)
        studies = file.create_group("studies")
        for part in parts:
            with h5py.File(part, "r") as source:
                for key in source["studies"]:
                    source.copy(source["studies"][key], studies)
        if path.exists():
            with h5py.File(path, "r") as old:
                for key in old["studies"]:
                    if key not in studies:
                        old.copy(old["studies"][key], studies)


def _check_space(path: Path, parts: Sequence[Path]) -> None:
    """Refuse to begin what the disk cannot hold: old and new results lie there together."""
    sizes = [part.stat().st_size for part in parts]
    needed = sum(sizes) + (path.stat().st_size if path.exists() else 0) + SPARE
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DiskError(
            f"{path} needs {needed >> 20} MiB to be written anew, but {free >> 20} MiB are free; "
            "finished studies are kept beside it and published by the next scan"
        )


def _write_run(file: Any, run: RunInfo) -> None:
    file.attrs["schema_version"] = SCHEMA
    file.attrs["medscan_version"] = run.version or __version__
    _put_attributes(file, {n: getattr(run, n) for n in ("created", "command", "aggregation")})
    file.attrs["detectors"] = json.dumps(run.detectors, sort_keys=True)
    for name, value in run.counts.items():
        file.attrs[name] = value
    for name, columns, rows in (
        ("failures", ("path", "stage", "reason", "message"), run.failures),
        ("skipped", ("path", "reason"), run.skipped),
    ):
        table = file.create_group(name)
        for position, column in enumerate(columns):
            _put_texts(table, column, [row[position] for row in rows])


# --- reading -----------------------------------------------------------------------------------


def _text(value: Any) -> str:
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")


def _info(group: Any, *leave: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in group.attrs.items():
        if name in leave:
            continue
        if name in LISTS:
            value = json.loads(value)
        found[name] = value.item() if isinstance(value, np.generic) else value
    return found


@dataclass(frozen=True, slots=True)
class Results:
    """A results file open for reading; nothing is held open between calls."""

    path: Path

    def run(self) -> RunInfo:
        """What the file says of itself."""
        with _reading(self.path) as file:
            attributes = file.attrs
            return RunInfo(
                created=str(attributes["created"]),
                command=str(attributes["command"]),
                aggregation=str(attributes["aggregation"]),
                detectors=json.loads(attributes["detectors"]),
                counts={k: int(attributes[k]) for k in ("files", "scanned", "skipped", "failed")},
                version=str(attributes["medscan_version"]),
                failures=_rows(file["failures"], ("path", "stage", "reason", "message")),
                skipped=_rows(file["skipped"], ("path", "reason")),
            )

    def keys(self) -> list[str]:
        """Keys of its studies, sorted."""
        with _reading(self.path) as file:
            return sorted(file["studies"])

    def study(self, key: str, *, arrays: bool = True) -> StudyResult:
        """One study; without `arrays`, heatmaps and thumbnails are left empty."""
        with _reading(self.path) as file:
            return _read_study(file["studies"][key], arrays=arrays)

    def studies(self, *, arrays: bool = True) -> Iterator[StudyResult]:
        """Every study, by key."""
        for key in self.keys():
            yield self.study(key, arrays=arrays)

    def ranked(self) -> list[StudyResult]:
        """Studies without arrays, worst first; unscored ones last; ties by key."""
        found = list(self.studies(arrays=False))
        return sorted(found, key=lambda s: (np.isnan(s.score), -np.nan_to_num(s.score), s.key))


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        hint = "is no HDF5 file or is damaged" if path.exists() else "does not exist"
        raise UsageError(f"{path} {hint}; name a results file that `medscan scan` wrote") from error
    with file:
        if "schema_version" not in file.attrs or "studies" not in file:
            raise UsageError(f"{path} is an HDF5 file, but not one that `medscan scan` wrote")
        version = int(file.attrs["schema_version"])
        if version > SCHEMA:
            raise UsageError(f"{path} has schema {version}; this medscan reads up to {SCHEMA}")
        yield file


def _rows(table: Any, columns: tuple[str, ...]) -> list[Any]:
    return list(zip(*([_text(v) for v in table[c][()]] for c in columns), strict=True))


def _read_study(group: Any, *, arrays: bool) -> StudyResult:
    return StudyResult(
        key=group.name.rsplit("/", 1)[-1],
        info=_info(group, "score", "percentile", "flagged"),
        score=float(group.attrs["score"]),
        percentile=float(group.attrs["percentile"]),
        flagged=bool(group.attrs["flagged"]),
        stacks=tuple(_read_stack(group[key], arrays=arrays) for key in sorted(group)),
    )


def _read_stack(group: Any, *, arrays: bool) -> StackResult:
    values: dict[str, Any] = {n: group[NAMES.get(n, n)] for n in ARRAYS}
    heavy = values.pop("heatmap")
    thumbnail = group.get("thumbnail") if arrays else None
    fields: dict[str, Any] = {name: data[()] for name, data in values.items()}
    fields |= {name: [_text(v) for v in group[name][()]] for name in TEXTS}
    return StackResult(
        key=group.name.rsplit("/", 1)[-1],
        info=_info(group, "score", "percentile"),
        score=float(group.attrs["score"]),
        percentile=float(group.attrs["percentile"]),
        heatmap=heavy[()] if arrays else np.zeros((0, *heavy.shape[1:]), np.float16),
        thumbnail=np.zeros((0, 0, 0, 1), np.uint8) if thumbnail is None else thumbnail[()],
        thumbnail_index=group["thumbnail_index"][()],
        **fields,
    )
