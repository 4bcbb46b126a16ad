"""Write results.h5: completely, then moved into place.

The layout is documented in man/medscan-results.5.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py

from medscan import __version__
from medscan.errors import DamagedError, DiskError
from medscan.files import forgiving, free_bytes, replacing
from medscan.results.opening import SCHEMA, damaged_studies, opened
from medscan.results.seal import USER_BLOCK, blocks_read, seal, verified
from medscan.results.types import Mark, RunInfo, StackResult, State, StudyResult

SPARE = 4 << 20
"""Bytes that a results file may need in addition to its studies."""
ARRAYS = ("slice_score", "state", "heatmap", "frame", "position_mm", "grid_to_pixel")
TEXTS = ("path", "sop_instance_uid")
NAMES = {"slice_score": "score"}
"""Data sets whose name in the file differs from the field's."""
LISTS = ("orientation", "pixel_spacing", "origin", "last", "qform", "sform", "form_codes", "notes",
         "assumed", "skipped", "kept", "device", "unlike")  # fmt: skip
"""Attributes that are lists, stored as JSON."""
WORK = ("content", "maker", "root", "tools")
"""Attributes of a study that say how its result came about; `root` is read with it too."""
MARKS = ("stale", "absent", "kept")
MANNER = ("precision", "plane", "identify", "hash_paths", "link_template")
"""Attributes of the root with options of the scan."""
FILES = "files"
"""Data set of a study: the outcomes of its files, as JSON."""
COMPRESSED = {"compression": "gzip", "shuffle": True}
SMALL = 4096
"""Bytes up to which an array is stored uncompressed: an index of chunks would be larger."""

Changes = Mapping[str, Mark | None]
"""New marks by study; None: drop the study."""
Dropped = Mapping[str, Collection[str]]
"""Keys of stacks to drop, by study."""


def write_part(path: Path, study: StudyResult) -> None:
    """Write one study as a complete file of its own, or nothing.

    Raises
    ------
    DiskError
        If it cannot be written.
    """
    # Made in memory: the HDF5 library crashes if the disk is full when it closes a file.
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=USER_BLOCK) as file:
        _write_study(file.create_group("studies"), study)
    seal(memory)
    with replacing(path) as aside:
        aside.write_bytes(memory.getbuffer())


def _write_study(parent: Any, study: StudyResult) -> None:
    group = parent.create_group(study.key)
    _put_attributes(group, study.info)
    group.attrs["score"] = study.score
    group.attrs["percentile"] = study.percentile
    group.attrs["flagged"] = study.flagged
    _put_attributes(group, {name: getattr(study.mark, name) for name in MARKS})
    if study.work is not None:
        _put_attributes(group, {name: getattr(study.work, name) for name in WORK})
        group.create_dataset(FILES, data=json.dumps(study.work.outcomes))
    for stack in study.stacks:
        _write_stack(group.create_group(stack.key), stack)


def _put_mark(group: Any, mark: Mark) -> None:
    facts = {name: getattr(mark, name) for name in MARKS}
    _put_attributes(group, facts | {"skipped": json.loads(mark.skipped or "[]")})


def _write_stack(group: Any, stack: StackResult) -> None:
    _put_attributes(group, stack.info)
    group.attrs["score"] = stack.score
    group.attrs["percentile"] = stack.percentile
    for name in ARRAYS:
        array = getattr(stack, name)
        options: dict[str, Any] = COMPRESSED if array.nbytes > SMALL else {}
        if name == "heatmap" and options:
            options = options | {"chunks": (1, *array.shape[1:])}
        group.create_dataset(NAMES.get(name, name), data=array, **options)
    for name in TEXTS:
        _put_texts(group, name, getattr(stack, name))
    if len(stack.thumbnail):
        group.create_dataset("thumbnail", data=stack.thumbnail, **COMPRESSED)
    group.create_dataset("thumbnail_index", data=stack.thumbnail_index)


def _put_attributes(group: Any, info: dict[str, Any]) -> None:
    """Write scalars unchanged and lists as JSON, which every HDF5 library can read."""
    for name, value in info.items():
        value = json.dumps(value) if name in LISTS else value
        if isinstance(value, str):
            group.attrs.create(name, _utf8(value), dtype=h5py.string_dtype("utf-8"))
        else:
            group.attrs[name] = value


def _utf8(text: str) -> bytes:
    """Encode a text from a file name or header; replace NUL, which HDF5 strings cannot hold."""
    return text.replace("\0", "\ufffd").encode("utf-8", "surrogateescape")


def _put_texts(group: Any, name: str, texts: Iterable[str]) -> None:
    data = [_utf8(text) for text in texts]
    group.create_dataset(name, data=data, dtype=h5py.string_dtype("utf-8"), shape=(len(data),))


def publish(
    path: Path,
    run: RunInfo,
    parts: Sequence[Path],
    changes: Changes = MappingProxyType({}),
    dropped: Dropped = MappingProxyType({}),
    check: Callable[[], object] = lambda: None,
) -> list[Path]:
    """Replace results.h5 in one rename: its studies and those of the parts, except damaged ones.

    Parameters
    ----------
    path : Path
        results.h5; it need not exist.
    run : RunInfo
        Attributes and tables of the new file's root.
    parts : sequence of Path
        Files of `write_part`; their studies replace older results.
    changes, dropped : mapping
        See `Changes` and `Dropped`.
    check : callable
        Called for each study; an error that it raises leaves the old file unchanged.

    Returns
    -------
    list of Path
        Parts that are damaged; their studies are not in the results.

    Raises
    ------
    DiskError
        If it cannot be written, or the old file is damaged since it was checked; it is unchanged.
    """
    _check_space(path, parts)
    # Those of the old results that are damaged are left out like those that are dropped.
    wanted = {**changes, **dict.fromkeys(damaged_studies(path) if path.exists() else (), None)}
    damaged = []
    with replacing(path) as aside:
        with (
            forgiving(aside) as stream,
            h5py.File(stream, "w", userblock_size=USER_BLOCK) as file,
        ):
            _write_run(file, run)
            studies = file.create_group("studies")
            # Parts come first: a study that is copied is not replaced by its older result.
            copy = partial(_copy_studies, to=studies, dropped=dropped, check=check)
            damaged = [part for part in parts if not _copy_part(part, copy, changes)]
            if path.exists():
                _copy_old(path, copy, wanted)
        seal_results(aside)
    return damaged


def _copy_part(part: Path, copy: Callable[[Any, Changes], None], changes: Changes) -> bool:
    """Copy the study of a part file; return whether the file is intact."""
    data = verified(part)
    if data is None:
        return False
    with h5py.File(io.BytesIO(data), "r") as file:
        copy(file["studies"], changes)
    return True


def _copy_old(path: Path, copy: Callable[[Any, Changes], None], changes: Changes) -> None:
    try:
        with opened(path) as old:
            copy(old["studies"], changes)
    except DamagedError as error:
        raise DiskError(f"{error}; finished studies are kept beside it") from error


def _copy_studies(
    old: Any, changes: Changes, *, to: Any, dropped: Dropped, check: Callable[[], object]
) -> None:
    """Copy studies that have not been copied yet and are not dropped."""
    for key in old:
        check()
        mark = changes.get(key, Mark())
        if key in to or mark is None:
            continue
        if key in dropped:
            _copy_without(old[key], to.create_group(key), dropped[key])
        else:
            old.copy(old[key], to)
        if key in changes:
            _put_mark(to[key], mark)


def _copy_without(old: Any, group: Any, dropped: Collection[str]) -> None:
    """Copy a study without some stacks; its totals become those of the others."""
    for name, value in old.attrs.items():
        group.attrs.create(name, value, dtype=old.attrs.get_id(name).dtype)
    for name in old:
        if name not in dropped:
            old.copy(old[name], group)
    stacks = [group[name] for name in group if name != FILES]
    scored = [stack for stack in stacks if not math.isnan(stack.attrs["score"])]
    worst = max(scored, key=lambda stack: float(stack.attrs["score"]), default=None)
    for name in ("score", "percentile"):
        group.attrs[name] = math.nan if worst is None else worst.attrs[name]
    group.attrs["flagged"] = any(s.attrs["score"] >= s.attrs["threshold"] for s in scored)
    group.attrs["slices"] = sum(int((s["state"][()] == State.SCORED).sum()) for s in stacks)


def seal_results(path: Path) -> None:
    """Add checksums, and copies of what is read to find studies: all would be lost with that."""
    shared = blocks_read(path, _read_shared)
    with path.open("r+b") as stream:
        seal(stream, shared)


def _read_shared(stream: Any) -> None:
    with h5py.File(stream, "r") as file:
        dict(file.attrs)
        list(file["studies"])
        for table in ("failures", "skipped"):
            for column in file[table].values():
                column[()]


def _check_space(path: Path, parts: Sequence[Path]) -> None:
    """Raise DiskError if the disk cannot hold old and new results at the same time."""
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
    names = ("created", "command", "aggregation", "key_fingerprint", "shard", *MANNER)
    _put_attributes(file, {name: getattr(run, name) for name in names})
    file.attrs["detectors"] = json.dumps(run.detectors, sort_keys=True)
    for name, value in run.counts.items():
        file.attrs[name] = value
    file.attrs["seconds"], file.attrs["slices"] = run.seconds, run.slices
    file.attrs["repeated"] = run.repeated
    for name, columns, rows in (
        ("failures", ("path", "stage", "reason", "message"), run.failures),
        ("skipped", ("path", "reason"), run.skipped),
    ):
        table = file.create_group(name)
        for position, column in enumerate(columns):
            _put_texts(table, column, [row[position] for row in rows])
