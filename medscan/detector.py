"""A detector: a fitted method, the domain it is for, and the calibration of its scores.

The file is safetensors: the tensors of `Method.state_dict()`, and everything else as JSON under the
metadata key `medscan`. What format 1 did not have at first is under separate keys: the detectors
that it was refitted from (`medscan.lineage`), precisions that it was tried in (`medscan.trials`),
the licence of its backbone (`medscan.backbone_licence`), its gate (`medscan.gate`), and the newer
half of its calibration (`medscan.calibration`); older versions read all but files with a gate. The
annotations of the classes below are the schema, see `medscan.schema`. It needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from medscan import donors
from medscan.choices import METHODS, MOST_TILES, Age, Plane
from medscan.clip import LARGEST_SIDE, in_order, read_header
from medscan.errors import DetectorError, UsageError, WeightsError
from medscan.files import replacing
from medscan.gate import Gate
from medscan.history import Ancestor, Trial
from medscan.normals import Calibration
from medscan.schema import CLOSED, OPEN, Digest, Line, Scalar, checked, one_of
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.clip import Backbone
    from medscan.methods import Method

FORMAT = 1
NEWER = ("patients", "stacks", "accepted")
"""Fields of the calibration that format 1 did not have at first."""
APART = ("lineage", "trials", "backbone_licence", "gate")
"""Fields under keys of their own, which format 1 did not have at first."""
LARGEST_FILE = 8 << 30
"""Bytes that a detector's file may have: all of it is read, and most of it kept in memory."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Kind of images that a detector was fitted on; an empty field allows any.

    Parameters
    ----------
    modality : str
        DICOM Modality, such as MR.
    body_part : str
        DICOM BodyPartExamined, such as BRAIN.
    sequence : str
        Word that the series description must contain, such as FLAIR.
    plane : str
        axial, coronal or sagittal.
    age : str
        adults or children.
    """

    __pydantic_config__ = CLOSED

    modality: Line = ""
    body_part: Line = ""
    sequence: Line = ""
    plane: Annotated[str, one_of("", *Plane)] = ""
    age: Annotated[str, one_of("", *Age)] = ""

    def __str__(self) -> str:
        parts = (self.body_part, self.sequence, self.modality, self.plane, self.age)
        return " ".join(part for part in parts if part) or "anything"


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """Settings that decide how the backbone is built; see `medscan.clip.load`."""

    __pydantic_config__ = OPEN  # other settings are the method's, which checks them

    size: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] | None = None
    quick_gelu: bool | None = None
    text_quick_gelu: bool | None = None
    tiles: Annotated[int, Field(ge=1, le=MOST_TILES)] | None = None


def _check_window(rule: str) -> str:
    from medscan.imaging import parse_rule

    try:
        parse_rule(rule)
    except UsageError as error:
        why = "Input should be a rule such as auto, voi or percentile:1,99.5"
        raise PydanticCustomError("window", why) from error
    return rule


@dataclass(frozen=True, slots=True)
class Detector:
    """Everything about a fitted method except its tensors.

    Parameters
    ----------
    name : str
        Name in reports: the stem of its file.
    digest : str
        SHA-256 of its file; empty before it is saved.
    method, protocol, organ, masked : str, str, str, bool
        See `medscan.methods`.
    settings : dict
        Fields of the method's settings dataclass.
    backbone, backbone_digest : str
        Backbone that it was fitted on, the only one that it runs on.
    domain : Domain
    window : str
        Rule of `medscan.imaging.parse_rule`.
    calibration : Calibration
    shots : dict
        `normal` and `abnormal`: names of the images it was fitted on.
    fingerprints : tuple of str
        SHA-256 of the shots' files, by which an evaluation recognises them under any name.
    selection : str
        "last", or "test" if the epoch was chosen on the test set, as published code does.
    seed : int
    licence : str
        Licence of the data it was fitted on.
    versions : dict
        Versions of medscan and the libraries that fitted it.
    lineage : tuple of Ancestor
        Detectors that it was refitted from, oldest first; empty if it was not refitted.
    trials : tuple of Trial
        Lower precisions that it was tried in.
    donors : tuple of str or None
        Digests of the patients of its shots, which lie beside its file; None: not known.
    backbone_licence : str
        Licence of the backbone's weights; empty in files of older versions.
    gate : Gate or None
        How far its shots reach; None in files of older versions, or if too few shots tell.
    precision : str
        Precision that `auto` stands for on this machine; empty if nobody asked. Not saved.
    """

    __pydantic_config__ = CLOSED

    name: str
    method: Annotated[str, one_of(*METHODS)]
    protocol: Annotated[str, one_of("clean", "paper")]
    organ: Line
    masked: bool
    settings: dict[Line, Scalar]
    backbone: Line
    backbone_digest: Digest
    domain: Domain
    window: Annotated[Line, AfterValidator(_check_window)]
    calibration: Calibration
    shots: dict[Line, list[str]] = field(default_factory=dict)
    fingerprints: tuple[Line, ...] = ()
    selection: Annotated[str, one_of("last", "test")] = "last"
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] = 0
    licence: Line = "unknown"
    versions: dict[Line, Line] = field(default_factory=dict)
    lineage: Annotated[tuple[Ancestor, ...], Field(max_length=1000)] = ()
    trials: Annotated[tuple[Trial, ...], Field(max_length=100)] = ()
    digest: str = ""
    donors: tuple[Line, ...] | None = None
    backbone_licence: Line = ""
    gate: Gate | None = None
    precision: str = ""

    @property
    def tower(self) -> dict[str, Any]:
        """Arguments of `medscan.clip.load` that belong to the detector."""
        return {f.name: self.settings.get(f.name) for f in fields(TowerSettings)}

    def load_backbone(self, *, device: str, precision: str) -> Backbone:
        """Load the backbone with the input size and activations that the detector was fitted with.

        Raises
        ------
        medscan.errors.WeightsError
            If the backbone is not on this machine, or is damaged.
        """
        from medscan import clip

        return clip.load(self.backbone, device=device, precision=precision, **self.tower)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise DetectorError if the detector was fitted on another backbone."""
        if backbone.digest != self.backbone_digest:
            raise DetectorError(
                f"detector {self.name} was fitted on backbone {self.backbone} with hash "
                f"{self.backbone_digest[:12]}, but this machine's has {backbone.digest[:12]}; fit "
                "it again or bring that backbone"
            )

    def save(self, path: Path, method: Method) -> Detector:
        """Write the detector with a method's tensors, completely or not at all.

        Raises
        ------
        medscan.errors.DiskError
            If the file could not be written.
        """
        state = method.state_dict().items()
        return self._write(path, {k: v.detach().cpu().contiguous() for k, v in state})

    def save_with_tensors_of(self, path: Path, source: Path) -> Detector:
        """Write the detector again, from the file that it was read from, as after a `replace`.

        Raises
        ------
        DetectorError
            If that file has changed since.
        medscan.errors.DiskError
            If the file could not be written.
        """
        from safetensors.torch import load_file

        if _digest_of(source) != self.digest:
            raise DetectorError(f"detector {source} has changed while it was used; try again")
        return self._write(path, load_file(source))

    def _write(self, path: Path, tensors: dict[str, Any]) -> Detector:
        from safetensors.torch import save

        facts = asdict(self) | {"format": FORMAT}
        for transient in ("digest", "name", "donors", "precision"):
            facts.pop(transient)
        apart = {name: facts.pop(name) for name in APART}
        metadata = {f"medscan.{name}": json.dumps(told) for name, told in apart.items() if told}
        newer = {name: facts["calibration"].pop(name) for name in NEWER}
        if newer["accepted"] is None:  # older versions refuse the field, as they must
            del newer["accepted"]
        if any(newer.values()):
            metadata["medscan.calibration"] = json.dumps(newer)
        metadata["medscan"] = json.dumps(facts, sort_keys=True)
        data = in_order(save(tensors, metadata=metadata))
        with replacing(path) as aside:
            aside.write_bytes(data)
        saved = replace(self, name=path.stem, digest=hashlib.sha256(data).hexdigest())
        donors.write(path, saved.digest, self.donors)
        return saved

    def load_method(self, path: Path, backbone: Backbone) -> Method:
        """Load the method with its tensors, on the backbone it was fitted on.

        Raises
        ------
        DetectorError
            If the backbone is another one, a setting is not one of the method, or the tensors do
            not fit the method or are not finite.
        """
        from safetensors.torch import load_file

        self.check_backbone(backbone)
        method, header = self._build(path, backbone), read_header(path)
        for name, shape in header.shapes.items():
            _resize(method, name, shape)
        if misfit := header.misfit(method.state_dict()):
            raise DetectorError(
                f"detector {path}: its tensors are not those of method {self.method}: {misfit}"
            )
        state = load_file(path)
        for name, tensor in state.items():
            if not tensor.isfinite().all():
                raise DetectorError(f"detector {path}: the tensor {name} is not finite")
        method.load_state_dict(state)
        return method.to(backbone.device).eval().requires_grad_(False)

    def _build(self, path: Path, backbone: Backbone) -> Method:
        from medscan.methods import build, settings_of
        from medscan.parts import Distance

        try:
            settings = settings_of(self.method, **self.settings)
            method = build(self.method, backbone, self.organ, settings, masked=self.masked)
        except UsageError as error:
            raise DetectorError(f"detector {path}: {error}") from error
        method.gate = Distance() if self.gate else None
        return method


def _resize(method: Method, name: str, shape: tuple[int, ...]) -> None:
    """Give a buffer whose size depends on the shots the saved shape."""
    module_name, _, leaf = name.rpartition(".")
    module = dict(method.named_modules()).get(module_name)
    axes = getattr(module, "grows", {}).get(leaf)
    if module is None or axes is None or 0 in shape:
        return
    buffer = getattr(module, leaf)
    fixed = [axis for axis in range(buffer.ndim) if axis not in axes]
    if len(shape) == buffer.ndim and all(shape[axis] == buffer.shape[axis] for axis in fixed):
        setattr(module, leaf, buffer.new_zeros(shape))


def read(path: Path) -> Detector:
    """Read a detector's header.

    Raises
    ------
    DetectorError
        If the file does not exist, is not a detector of a format that this medscan reads, or has a
        field of the wrong type.
    """
    digest = _digest_of(path)
    try:
        header = read_header(path)
        facts = json.loads(header.metadata["medscan"])
        written = {name: header.metadata.get(f"medscan.{name}") for name in APART}
        apart = {name: json.loads(text) for name, text in written.items() if text}
        newer = json.loads(header.metadata.get("medscan.calibration", "{}"))
    except (WeightsError, KeyError, ValueError, RecursionError) as error:
        raise DetectorError(f"{path} is not a detector file, or is damaged") from error
    if not header.shapes:
        raise DetectorError(f"{path} is not a detector file: it has no tensors")
    if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
        raise DetectorError(f"detector {path} is of a format that this medscan cannot read")
    added = {"name": printable(path.stem), "digest": digest, "precision": ""} | apart
    added["donors"] = donors.read(path, digest)
    return _from_facts(path, _joined(path, facts, newer), added)


def _joined(path: Path, facts: dict[str, Any], newer: Any) -> dict[str, Any]:
    """Facts with both halves of the calibration."""
    older = facts.get("calibration")
    if not isinstance(older, dict):
        return facts
    if not isinstance(newer, dict) or older.keys() & newer.keys():
        raise DetectorError(f"detector {path} is damaged: its calibration is there twice")
    return facts | {"calibration": older | newer}


def _digest_of(path: Path) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
            raise DetectorError(
                f"detector {path} is not a regular file, or has more than {LARGEST_FILE >> 30} GiB"
            )
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DetectorError(f"detector {path} cannot be read: {error.strerror}") from error


def _from_facts(path: Path, facts: dict[str, Any], added: dict[str, Any]) -> Detector:
    subject = f"detector {path}"
    if misplaced := sorted(facts.keys() & {*added, *APART}):
        raise DetectorError(f"{subject} is damaged: {misplaced[0]}: not a field of the file")
    detector = checked(Detector, facts | added, subject, DetectorError)
    checked(TowerSettings, detector.settings, subject, DetectorError)
    return detector


def folders() -> list[Path]:
    """Folders to search for detectors: those in $MEDSCAN_WEIGHTS, then medscan's own."""
    extra = os.environ.get("MEDSCAN_WEIGHTS", "")
    package = Path(__file__).resolve().parent
    own = next(
        (p for p in (package / "weights", package.parent / "weights") if p.is_dir()), package
    )
    return [Path(part) / "detectors" for part in [*extra.split(os.pathsep), str(own)] if part]


def shipped() -> list[Path]:
    """Detector files in `folders()`, sorted by name; the first of a name hides later ones."""
    by_name: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            by_name.setdefault(path.stem, path)
    return [by_name[name] for name in sorted(by_name)]


def find(path: Path) -> Path:
    """Path of a detector, given as a file or as the name of a shipped one.

    Raises
    ------
    DetectorError
        If there is no such file and no shipped detector of that name.
    """
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file() raises for a name too long
        return path
    match = next((p for p in shipped() if p.stem == str(path)), None)
    if match is None:
        names = ", ".join(p.stem for p in shipped()) or "none"
        raise DetectorError(
            f"detector {path}: no such file, and no shipped detector of that name (shipped: "
            f"{names}); fit one with `medscan fit`"
        )
    return match
