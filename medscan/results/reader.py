"""Read results.h5 study by study, without those that are damaged.

The layout is documented in man/medscan-results.5.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medscan.results.opening import damaged_studies, is_damaged, opened
from medscan.results.records import read_records
from medscan.results.seal import verified
from medscan.results.store import ARRAYS, FILES, LISTS, MARKS, NAMES, TEXTS, WORK
from medscan.results.types import (
    Mark,
    RunInfo,
    Score,
    StackResult,
    StudyResult,
    Work,
    merge_results,
)

NEEDED = ("SeriesInstanceUID", "modality", "body_part", "plane", "kind", "detector",
          "detector_hash", "threshold", "slice_threshold", "provisional", "rows", "columns", "size",
          "orientation", "pixel_spacing", "origin", "slice_spacing", "notes")  # fmt: skip
"""Attributes that every stack has."""


def read_part(path: Path) -> Work | None:
    """Return how the result in a part file came about; None if any of the file is damaged."""
    try:
        data = verified(path)
    except OSError:
        return None
    if data is None:
        return None
    with h5py.File(io.BytesIO(data), "r") as file:
        return _read_work(file["studies"][path.stem]) if path.stem in file["studies"] else None


def read_stacks(part: Path, out: Path, study: str, asked: Collection[str]) -> list[StackResult]:
    """Read the stacks of a study that answer something: from its part file, else the results.

    Parameters
    ----------
    part, out : Path
        A part file, which need not exist, and the results file.
    study : str
    asked : collection of str
        See `Score`.

    Raises
    ------
    DamagedError
        If the results are damaged.
    """
    data = verified(part) if asked and part.exists() else None
    if data is not None:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _answers(file["studies"][study], asked)
    if not asked:
        return []
    with opened(out) as file:
        return _answers(file["studies"][study], asked)


def _answers(group: Any, asked: Collection[str]) -> list[StackResult]:
    names = (name for name in sorted(group) if name != FILES)
    return [
        _read_stack(group[name], arrays=True)
        for name in names
        if group[name].attrs.get("asked", "") in asked
    ]


def _text(value: Any) -> str:
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")


def _info(group: Any, *excluded: str) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for name, value in group.attrs.items():
        if name in excluded:
            continue
        if name in LISTS:
            value = json.loads(value)
        info[name] = value.item() if isinstance(value, np.generic) else value
    return info


@dataclass(frozen=True, slots=True)
class Results:
    """A results file for reading; it is opened anew by each call.

    Parameters
    ----------
    path : Path
    only : frozenset of str, optional
        Keys of the studies to read; None: all.
    older : tuple of Path
        Files whose results of the same studies are added; see `merge_results`.
    """

    path: Path
    only: frozenset[str] | None = None
    older: tuple[Path, ...] = ()

    def check(self) -> None:
        """Raise UsageError if this is not a readable results file; see `medscan.results.open`."""
        with opened(self.path):
            pass

    def key_fingerprint(self) -> str:
        """Return the fingerprint of the pseudonyms' key; empty in files of older versions."""
        with opened(self.path) as file:
            return str(file.attrs.get("key_fingerprint", ""))

    def shard(self) -> str:
        """Return the shard of the archive that was scanned, such as 3/16; empty: all of it."""
        with opened(self.path) as file:
            return str(file.attrs.get("shard", ""))

    def run(self) -> RunInfo:
        """Return the attributes and tables of the file's root."""
        with opened(self.path) as file:
            attributes = file.attrs
            detectors, damage = read_records(attributes["detectors"])
            return RunInfo(
                created=str(attributes["created"]),
                command=str(attributes["command"]),
                aggregation=str(attributes["aggregation"]),
                detectors=detectors,
                damage=damage,
                counts={k: int(attributes[k]) for k in ("files", "scanned", "skipped", "failed")},
                version=str(attributes["medscan_version"]),
                failures=_rows(file["failures"], ("path", "stage", "reason", "message")),
                skipped=_rows(file["skipped"], ("path", "reason")),
                seconds=float(attributes.get("seconds", math.nan)),
                slices=int(attributes.get("slices", 0)),
                repeated=int(attributes.get("repeated", 0)),
                key_fingerprint=str(attributes.get("key_fingerprint", "")),
                precision=str(attributes.get("precision", "")),
                plane=str(attributes.get("plane", "")),
                identify=bool(attributes.get("identify", False)),
                hash_paths=bool(attributes.get("hash_paths", True)),
                shard=str(attributes.get("shard", "")),
                link_template=str(attributes.get("link_template", "")),
            )

    def damaged(self) -> list[str]:
        """Return the keys of studies that are damaged, sorted; no other method returns them."""
        return sorted(damaged_studies(self.path))

    def is_damaged(self) -> bool:
        """Whether any byte of the file has changed since it was written."""
        return is_damaged(self.path)

    def keys(self) -> list[str]:
        """Return the keys of all intact studies, sorted."""
        with opened(self.path) as file:
            return self._keys(file)

    def _keys(self, file: Any) -> list[str]:
        intact = file["studies"].keys() - damaged_studies(self.path)
        return sorted(intact if self.only is None else intact & self.only)

    def scored(self) -> list[str]:
        """Return the keys of studies with a score, sorted."""
        with opened(self.path) as file:
            studies = file["studies"]
            return [k for k in self._keys(file) if not math.isnan(studies[k].attrs["score"])]

    def flagged(self) -> list[str]:
        """Return the keys of flagged studies, sorted."""
        if self.older:
            return sorted(study.key for study in self.ranked() if study.flagged)
        with opened(self.path) as file:
            studies = file["studies"]
            return [key for key in self._keys(file) if bool(studies[key].attrs["flagged"])]

    def study(self, key: str, *, arrays: bool = True) -> StudyResult:
        """Read a study; without `arrays`, heatmaps and thumbnails are left empty."""
        with opened(self.path) as file:
            own = {key: _read_study(file["studies"][key], arrays=arrays)}
        return self._with_older(own, arrays=arrays)[key]

    def _with_older(self, own: dict[str, StudyResult], *, arrays: bool) -> dict[str, StudyResult]:
        """Add to studies the series that only older files have scored."""
        studies = dict(own)
        for path in self.older:
            with opened(path) as file:
                for key in (studies.keys() & file["studies"].keys()) - damaged_studies(path):
                    older = _read_study(file["studies"][key], arrays=arrays)
                    studies[key] = merge_results(studies[key], older)
        return studies

    def with_arrays(self, study: StudyResult) -> StudyResult:
        """Add the arrays to a study that was read without them."""
        if self.older:
            return self.study(study.key)
        with opened(self.path) as file:
            group = file["studies"][study.key]
            return replace(study, stacks=tuple(_with_arrays(group[s.key], s) for s in study.stacks))

    def studies(self, *, arrays: bool = True) -> Iterator[StudyResult]:
        """Yield every study, sorted by key."""
        for key in self.keys():
            yield self.study(key, arrays=arrays)

    def infos(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the key and the info of each study, without reading its stacks."""
        with opened(self.path) as file:
            for key in self._keys(file):
                yield key, _study_info(file["studies"][key])

    def works(self) -> Iterator[tuple[str, Work, Mark]]:
        """Yield the key, work and mark of each study that records how it came about."""
        with opened(self.path) as file:
            for key in self._keys(file):
                group = file["studies"][key]
                work = _read_work(group)
                if work is not None:
                    yield key, work, _read_mark(group)

    def ranked(self) -> list[StudyResult]:
        """Return studies without arrays, highest score first; unscored ones last; ties by key."""
        with opened(self.path) as file:
            own = {k: _read_study(file["studies"][k], arrays=False) for k in self._keys(file)}
        studies = self._with_older(own, arrays=False).values()
        return sorted(studies, key=lambda s: (np.isnan(s.score), -np.nan_to_num(s.score), s.key))


def _rows(table: Any, columns: tuple[str, ...]) -> list[Any]:
    return list(zip(*([_text(v) for v in table[c][()]] for c in columns), strict=True))


def _read_study(group: Any, *, arrays: bool) -> StudyResult:
    return StudyResult(
        key=group.name.rsplit("/", 1)[-1],
        info=_study_info(group),
        score=float(group.attrs["score"]),
        percentile=float(group.attrs["percentile"]),
        flagged=bool(group.attrs["flagged"]),
        stacks=tuple(
            _read_stack(group[key], arrays=arrays) for key in sorted(group) if key != FILES
        ),
        mark=_read_mark(group),
    )


def _study_info(group: Any) -> dict[str, Any]:
    return _info(group, "score", "percentile", "flagged", "content", "maker", "tools", *MARKS)


def _read_mark(group: Any) -> Mark:
    skipped = str(group.attrs.get("skipped", "[]"))
    return Mark(
        bool(group.attrs.get("stale", False)),
        str(group.attrs.get("absent", "")),
        tuple(json.loads(group.attrs.get("kept", "[]"))),
        "" if skipped == "[]" else skipped,
    )


def _read_work(group: Any) -> Work | None:
    if FILES not in group:
        return None
    facts = {name: str(group.attrs[name]) for name in WORK}
    outcomes = json.loads(group[FILES].asstr()[()])
    scores = tuple(_read_score(group[name]) for name in sorted(group) if name != FILES)
    return Work(**facts, outcomes=outcomes, scores=scores)


def _read_score(group: Any) -> Score:
    name = group.name.rsplit("/", 1)[-1]
    facts = {field: str(group.attrs.get(field, "")) for field in Score._fields}
    return Score(**facts | {"group": name, "stack": facts["stack"] or name})


def _read_stack(group: Any, *, arrays: bool) -> StackResult:
    heatmap = group["heatmap"]
    fields: dict[str, Any] = {n: group[NAMES.get(n, n)][()] for n in ARRAYS if n != "heatmap"}
    fields |= {name: [_text(v) for v in group[name][()]] for name in TEXTS}
    if len({len(heatmap), *map(len, fields.values())}) != 1:
        raise ValueError(f"data sets of {group.name} differ in length")
    info = _info(group, "score", "percentile")
    if missing := [name for name in NEEDED if name not in info]:
        raise KeyError(f"{group.name} has no {missing[0]}")
    stack = StackResult(
        key=group.name.rsplit("/", 1)[-1],
        info=info,
        score=float(group.attrs["score"]),
        percentile=float(group.attrs["percentile"]),
        heatmap=np.zeros((0, *heatmap.shape[1:]), np.float16),
        thumbnail=np.zeros((0, 0, 0, 1), np.uint8),
        thumbnail_index=group["thumbnail_index"][()],
        **fields,
    )
    return _with_arrays(group, stack) if arrays else stack


def _with_arrays(group: Any, stack: StackResult) -> StackResult:
    """Add heatmaps and thumbnails to a stack."""
    heatmap, thumbnail = group["heatmap"][()], stack.thumbnail
    if "thumbnail" in group:
        thumbnail = group["thumbnail"][()]
        if len(thumbnail) != len(stack.thumbnail_index):
            raise ValueError(f"data sets of {group.name} differ in length")
    return replace(stack, heatmap=heatmap, thumbnail=thumbnail)
