"""Labelled images to fit on: what a folder or manifest holds, and K shots of it by patient.

Three layouts are understood:

- BMAD's: `train/good`, `valid/good/img`, `valid/Ungood/img` with `valid/Ungood/anomaly_mask` or
  `label`; `test` in the same way.
- `normal/`, `abnormal/` and optionally `masks/`, with or without `cases.csv` (columns case,
  patient, and split or split_hint; without either every case is for training).
- a CSV manifest with columns path, label, and optionally mask, patient, split.

Fitting asks for the split `train` and never sees another.

Items are pictures, DICOM files or volumes; of a volume every slice is an item. Whose they are,
`patients` finds out.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from medscan.archive import is_litter
from medscan.errors import UsageError
from medscan.shots.patients import LABELS, identified
from medscan.shots.sources import Source, stem
from medscan.text import printable

log = logging.getLogger("medscan.fit")

SPLITS = ("train", "test")


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled file.

    Parameters
    ----------
    name : str
        Path below the data folder: what a detector lists as its shots.
    path, mask : Path
        The image, and its mask or None.
    label : int
        1 abnormal.
    patient : str
        Items of one patient are never on both sides of a split.
    typical : bool
        False for a slice that was picked out: it teaches, but says nothing of where normals score.
    identities : tuple of str
        Whom the file, and a table, say that it is of; never to be shown.
    top : Path
        Folder of the data: what lies beside the file, and in folders up to this one, may say what
        it shows.
    sources : tuple of Source
        Of a DICOM file, what of its series it holds; of others, nothing until they are read.
    """

    name: str
    path: Path
    label: int
    patient: str
    mask: Path | None = None
    typical: bool = True
    identities: tuple[str, ...] = ()
    top: Path = Path("/")
    sources: tuple[Source, ...] = ()


def read_items(
    data: Path, split: str = "train", *, required: bool = True, divides: bool = True
) -> list[Item]:
    """Every item of a split of a folder or manifest, sorted by name.

    Parameters
    ----------
    data : Path
    split : str
        "train", what may be fitted on; or "test".
    required : bool
        Whether a split without any item is an error.
    divides : bool
        Whether patients in both splits may pass; only published protocols allow it, and a caller
        that compares patients itself.

    Raises
    ------
    UsageError
        If `data` does not exist or has none of the three layouts, if a patient that files or a
        table state is in both splits, or if what they state cannot be true.
    """
    splits = read_splits(data, (split,))
    if required and not splits[split]:
        raise UsageError(f"{data} holds no images of the split {split}")
    if not divides:
        _check_sides(data, splits)
    return splits[split]


def _check_sides(data: Path, splits: dict[str, list[Item]]) -> None:
    """Refuse patients, as files or a table state them, who are in both splits."""
    train, test = ({i.patient: i for i in splits[name] if i.identities} for name in SPLITS)
    both = sorted(train.keys() & test.keys())
    if both:
        pair = f"{train[both[0]].name} and {test[both[0]].name}"
        raise UsageError(
            f"{data}: {len(both)} patients are in both splits: {pair} are of one, by PatientID, "
            "BIDS name or column patient; give all images of a patient the same split"
        )


def read_splits(data: Path, strict: Sequence[str] = SPLITS) -> dict[str, list[Item]]:
    """Every item of both splits, sorted by name, with the patients that DICOM files state.

    Parameters
    ----------
    data : Path
    strict : sequence of str
        Splits of which every row of a manifest must be right; wrong rows of others are left out.

    Raises
    ------
    UsageError
        As for `read_items`, except for patients in both splits.
    """
    splits = {name: list(_layout(data, name, strict=name in strict)) for name in SPLITS}
    return identified(data, splits)


def _layout(data: Path, split: str, *, strict: bool) -> Iterator[Item]:
    """Items of a split, without a patient where neither table nor name gives one."""
    if data.is_file():
        return _manifest(data, split, strict=strict)
    if (data / "valid").is_dir() or (data / "train" / "good").is_dir():
        return _bmad(data, split)
    if (data / "normal").is_dir():
        return _folders(data, split)
    if data.exists():
        raise UsageError(
            f"{data} has neither normal/ and abnormal/, nor train/good and valid/, nor is it a CSV "
            "manifest; see medscan-fit(1)"
        )
    raise UsageError(f"{data} does not exist")


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    visible = (p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(p for p in visible if not is_litter(p))


def _masks(*folders: Path) -> dict[str, Path]:
    return {stem(path): path for folder in folders for path in _images(folder)}


def _folders(data: Path, wanted: str) -> Iterator[Item]:
    table = data / "cases.csv"
    cases = _cases(table)
    masks = _masks(data / "masks")
    found = [(n, path) for n, name in enumerate(LABELS) for path in _images(data / name)]
    images = {stem(path) for _, path in found}
    lost = [n for n, row in cases.items() if _split(row) == wanted and n not in images]
    if lost:
        log.warning(
            "%s: %d rows of split %s name no image in normal/ or abnormal/, such as %s",
            *(table, len(lost), wanted, printable(lost[0], 80)),
        )
    for label, path in found:
        row = cases.get(stem(path), {})
        if (row or not cases) and _split(row) == wanted:
            mask = masks.get(stem(path)) if label else None
            name = f"{LABELS[label]}/{path.name}"
            yield Item(name, path, label, row.get("patient") or "", mask)


def _split(row: dict[str, str]) -> str:
    return row.get("split") or row.get("split_hint") or "train"


def _cases(path: Path) -> dict[str, dict[str, str]]:
    """Rows by the names of their images, without suffix.

    Raises
    ------
    UsageError
        If there is no column of names, or rows of one image differ in patient or split.
    """
    if not path.is_file():
        return {}
    rows = _rows(path)
    key = next((k for k in ("case", "volume", "name") if rows and k in rows[0]), None)
    if key is None:
        raise UsageError(f"{path} needs a column case (file name without suffix)")
    cases: dict[str, dict[str, str]] = {}
    for line, row in enumerate(rows, 2):
        name = Path(row[key] or "").name
        first = cases.setdefault(name, row)
        if (first.get("patient"), _split(first)) != (row.get("patient"), _split(row)):
            raise UsageError(
                f"{path} line {line}: {printable(name, 80)} is listed before, with another patient "
                "or split; correct one of the rows"
            )
    return cases


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file in UTF-8 ({type(error).__name__})") from error


def _bmad(data: Path, split: str) -> Iterator[Item]:
    part = data / ("valid" if split == "train" else split)
    bad = next((part / n for n in ("Ungood", "ungood") if (part / n).is_dir()), part / "Ungood")
    masks = _masks(bad / "label", bad / "anomaly_mask")
    normal = [*_images(part / "good" / "img"), *_images(part / "good")]
    if split == "train":
        normal += [*_images(data / "train" / "good"), *_images(data / "train" / "good" / "img")]
    for path in normal:
        yield Item(str(path.relative_to(data)), path, 0, "")
    for path in [*_images(bad / "img"), *_images(bad)]:
        yield Item(str(path.relative_to(data)), path, 1, "", masks.get(stem(path)))


def _manifest(path: Path, split: str, *, strict: bool) -> Iterator[Item]:
    """Items of a split; if not `strict`, without those whose row is wrong."""
    rows = _rows(path)
    if rows and not {"path", "label"} <= set(rows[0]):
        raise UsageError(f"{path} needs the columns path and label; see medscan-fit(1)")
    for line, row in enumerate(rows, 2):
        if (row.get("split") or "train") == split:
            with nullcontext() if strict else suppress(UsageError):
                yield _manifest_item(path, line, row)


def _manifest_item(manifest: Path, line: int, row: dict[str, str]) -> Item:
    labels = {"0": 0, "normal": 0, "1": 1, "abnormal": 1}
    if row["label"] not in labels:
        raise UsageError(
            f"{manifest} line {line}: label {row['label']!r} is not normal or abnormal"
        )
    file = manifest.parent / row["path"]
    if not file.is_file():
        raise UsageError(f"{manifest} line {line}: there is no file {row['path']}")
    mask = manifest.parent / row["mask"] if row.get("mask") else None
    return Item(row["path"], file, labels[row["label"]], row.get("patient") or "", mask)


class OfPatient(Protocol):
    """Something that is of a patient."""

    @property
    def patient(self) -> str:
        """Name of the patient."""


One = TypeVar("One", bound=OfPatient)


def by_patient(items: Sequence[One], seed: int) -> Iterator[One]:
    """Items in the order in which they are tried as shots: patients take turns.

    Parameters
    ----------
    items : sequence of Item, or of anything else of a patient
        Of one label.
    seed : int
        The order of patients, and of a patient's items, is drawn from it.

    Yields
    ------
    One
        Every item once; the first K come from as many patients as there are.
    """
    rng = np.random.default_rng(seed)
    queues: dict[str, list[One]] = {}
    for item in items:
        queues.setdefault(item.patient, []).append(item)
    names = sorted(queues)
    order = [names[i] for i in rng.permutation(len(names))]
    for queue in queues.values():
        rng.shuffle(queue)
    while queues:
        for name in order:
            if name in queues:
                yield queues[name].pop()
                if not queues[name]:
                    del queues[name]
