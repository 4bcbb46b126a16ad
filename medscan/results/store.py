"""results.h5: written whole and moved into place, read back study by study.

The layout is documented in man/medscan-results.5.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from medscan import __version__
from medscan.errors import DiskError, UsageError
from medscan.files import forgiving, free_bytes, replacing
from medscan.results.types import Mark, RunInfo, StackResult, StudyResult, Work

SCHEMA = 1
SPARE = 4 << 20
"""Bytes that a results file may need beyond its studies."""
ARRAYS = ("slice_score", "state", "heatmap", "frame", "position_mm", "grid_to_pixel")
TEXTS = ("path", "sop_instance_uid")
NAMES = {"slice_score": "score"}
"""Data sets whose name in the file differs from the field's."""
LISTS = ("orientation", "pixel_spacing", "origin", "last", "notes", "skipped")
"""Attributes that are lists, kept as JSON."""
NEEDED = ("SeriesInstanceUID", "modality", "body_part", "plane", "kind", "detector",
          "detector_hash", "threshold", "slice_threshold", "provisional", "rows", "columns", "size",
          "orientation", "pixel_spacing", "origin", "slice_spacing", "notes")  # fmt: skip
"""Attributes that every stack has."""
WORK = ("content", "maker", "root", "tools")
"""Attributes of a study that say how its result came about."""
MARKS = ("stale", "absent")
MANNER = ("precision", "plane", "identify", "hash_paths")
"""Attributes of the root that say how the scan was asked to work."""
FILES = "files"
"""Data set of a study: JSON of what became of its files."""
COMPRESSED = {"compression": "gzip", "shuffle": True}

DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError,
          ArithmeticError, MemoryError)  # fmt: skip
"""What reading a damaged file raises, in HDF5 and after it."""

# Files are only ever replaced whole: readers need no locks, which network file systems may lack.


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


def read_part(path: Path) -> Work | None:
    """How the result in a part file came about; None when the file is damaged anywhere."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            group = file["studies"][path.stem]
            _read_study(group, arrays=True)
            return _read_work(group)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError):
        return None


def _write_study(parent: Any, study: StudyResult) -> None:
    group = parent.create_group(study.key)
    _put_attributes(group, study.info)
    group.attrs["score"] = study.score
    group.attrs["percentile"] = study.percentile
    group.attrs["flagged"] = study.flagged
    _put_mark(group, study.mark)
    if study.work is not None:
        _put_attributes(group, {name: getattr(study.work, name) for name in WORK})
        group.create_dataset(FILES, data=json.dumps(study.work.outcomes))
    for stack in study.stacks:
        _write_stack(group.create_group(stack.key), stack)


def _put_mark(group: Any, mark: Mark) -> None:
    _put_attributes(group, {name: getattr(mark, name) for name in MARKS})


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


def publish(
    path: Path,
    run: RunInfo,
    parts: Sequence[Path],
    changes: Mapping[str, Mark | None] = MappingProxyType({}),
) -> None:
    """Replace results.h5 by its studies plus the parts, in one rename.

    Parameters
    ----------
    path : Path
        results.h5; it need not exist.
    run : RunInfo
        What the new file says of itself.
    parts : sequence of Path
        Files of `write_part`; a study in one of them replaces its older result.
    changes : mapping
        New marks by study; None drops one.

    Raises
    ------
    DiskError
        It could not be written; the old file is as it was.
    """
    _check_space(path, parts)
    with replacing(path) as aside, forgiving(aside) as stream, h5py.File(stream, "w") as file:
        _write_run(file, run)
        studies = file.create_group("studies")
        for one in [*parts, *([path] if path.exists() else [])]:
            with h5py.File(one, "r", locking=False) as source:
                _keep(source["studies"], studies, changes)


def _keep(old: Any, studies: Any, changes: Mapping[str, Mark | None]) -> None:
    """Copy the studies that are not there yet."""
    for key in old:
        mark = changes.get(key, Mark())
        if key in studies or mark is None:
            continue
        old.copy(old[key], studies)
        if key in changes:
            _put_mark(studies[key], mark)


def _check_space(path: Path, parts: Sequence[Path]) -> None:
    """Refuse to begin what the disk cannot hold: old and new results lie there together."""
    sizes = [part.stat().st_size for part in parts]
    needed = sum(sizes) + (path.stat().st_size if path.exists() else 0) + SPARE
    free = free_bytes(path.parent)
    if free < needed:
        raise DiskError(
            f"{path} needs {needed >> 20} MiB to be written anew, but {free >> 20} MiB are free; "
            "finished studies are kept beside it and published by the next scan"
        )


def _write_run(file: Any, run: RunInfo) -> None:
    file.attrs["schema_version"] = SCHEMA
    file.attrs["medscan_version"] = run.version or __version__
    told = ("created", "command", "aggregation", "key_fingerprint", *MANNER)
    _put_attributes(file, {name: getattr(run, name) for name in told})
    file.attrs["detectors"] = json.dumps(run.detectors, sort_keys=True)
    for name, value in run.counts.items():
        file.attrs[name] = value
    file.attrs["seconds"], file.attrs["slices"] = run.seconds, run.slices
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

    def check(self) -> None:
        """Raise UsageError if this is no results file that can be read."""
        with _reading(self.path):
            pass

    def key_fingerprint(self) -> str:
        """Of the key that pseudonyms were made with; empty in files of older versions."""
        with _reading(self.path) as file:
            return str(file.attrs.get("key_fingerprint", ""))

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
                seconds=float(attributes.get("seconds", math.nan)),
                slices=int(attributes.get("slices", 0)),
                key_fingerprint=str(attributes.get("key_fingerprint", "")),
                precision=str(attributes.get("precision", "")),
                plane=str(attributes.get("plane", "")),
                identify=bool(attributes.get("identify", False)),
                hash_paths=bool(attributes.get("hash_paths", True)),
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

    def works(self) -> Iterator[tuple[str, Work, Mark]]:
        """How each result came about, by key; those that do not say so are left out."""
        with _reading(self.path) as file:
            for key, group in file["studies"].items():
                work = _read_work(group)
                if work is not None:
                    yield key, work, _read_mark(group)

    def ranked(self) -> list[StudyResult]:
        """Studies without arrays, worst first; unscored ones last; ties by key."""
        with _reading(self.path) as file:
            found = [_read_study(file["studies"][key], arrays=False) for key in file["studies"]]
        return sorted(found, key=lambda s: (np.isnan(s.score), -np.nan_to_num(s.score), s.key))


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        hint = "is no HDF5 file or is damaged" if path.exists() else "does not exist"
        raise UsageError(f"{path} {hint}; name a results file that `medscan scan` wrote") from error
    with file:
        try:
            _check_kind(file, path)
            yield file
        except DAMAGE as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{path} is damaged ({why})") from error


def _check_kind(file: Any, path: Path) -> None:
    """Raise UsageError if it is no results file, or one of a newer medscan."""
    if "schema_version" not in file.attrs or "studies" not in file:
        raise UsageError(f"{path} is an HDF5 file, but not one that `medscan scan` wrote")
    version = int(file.attrs["schema_version"])
    if version > SCHEMA:
        raise UsageError(f"{path} has schema {version}; this medscan reads up to {SCHEMA}")


def _rows(table: Any, columns: tuple[str, ...]) -> list[Any]:
    return list(zip(*([_text(v) for v in table[c][()]] for c in columns), strict=True))


def _read_study(group: Any, *, arrays: bool) -> StudyResult:
    return StudyResult(
        key=group.name.rsplit("/", 1)[-1],
        info=_info(group, "score", "percentile", "flagged", *WORK, *MARKS),
        score=float(group.attrs["score"]),
        percentile=float(group.attrs["percentile"]),
        flagged=bool(group.attrs["flagged"]),
        stacks=tuple(
            _read_stack(group[key], arrays=arrays) for key in sorted(group) if key != FILES
        ),
        mark=_read_mark(group),
    )


def _read_mark(group: Any) -> Mark:
    return Mark(bool(group.attrs.get("stale", False)), str(group.attrs.get("absent", "")))


def _read_work(group: Any) -> Work | None:
    if FILES not in group:
        return None
    told = {name: str(group.attrs[name]) for name in WORK}
    return Work(**told, outcomes=json.loads(group[FILES].asstr()[()]))


def _read_stack(group: Any, *, arrays: bool) -> StackResult:
    values: dict[str, Any] = {n: group[NAMES.get(n, n)] for n in ARRAYS}
    heavy = values.pop("heatmap")
    thumbnail = group.get("thumbnail") if arrays else None
    fields: dict[str, Any] = {name: data[()] for name, data in values.items()}
    fields |= {name: [_text(v) for v in group[name][()]] for name in TEXTS}
    lengths = {len(heavy), *map(len, fields.values())}
    shown = group["thumbnail_index"][()]
    if len(lengths) != 1 or (thumbnail is not None and len(thumbnail) != len(shown)):
        raise ValueError(f"data sets of {group.name} differ in length")
    info = _info(group, "score", "percentile")
    if missing := [name for name in NEEDED if name not in info]:
        raise KeyError(f"{group.name} has no {missing[0]}")
    return StackResult(
        key=group.name.rsplit("/", 1)[-1],
        info=info,
        score=float(group.attrs["score"]),
        percentile=float(group.attrs["percentile"]),
        heatmap=heavy[()] if arrays else np.zeros((0, *heavy.shape[1:]), np.float16),
        thumbnail=np.zeros((0, 0, 0, 1), np.uint8) if thumbnail is None else thumbnail[()],
        thumbnail_index=shown,
        **fields,
    )
