"""A detector: a fitted method with the domain it is for and how its scores are to be read.

The file is safetensors: the tensors of `Method.state_dict()`, and everything else as JSON under the
metadata key `medscan`. Which detectors it was made from is under a key of its own,
`medscan.lineage`, so that older versions read such files too. The annotations of the classes below
are the schema of that JSON, see `medscan.schema`. Reading the header needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from bisect import bisect_left
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticKnownError

from medscan.clip import read_header
from medscan.errors import DetectorError, WeightsError
from medscan.files import replacing
from medscan.schema import CLOSED, OPEN, Count, Scalar, checked

if TYPE_CHECKING:
    from medscan.clip import Backbone
    from medscan.methods import Method

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Domain:
    """What kind of images a detector was fitted on; an empty field does not restrict.

    Parameters
    ----------
    modality : str
        DICOM Modality, such as MR.
    body_part : str
        DICOM BodyPartExamined, such as BRAIN.
    sequence : str
        Word that a series description must hold, such as FLAIR.
    plane : str
        axial, coronal or sagittal.
    """

    __pydantic_config__ = CLOSED

    modality: str = ""
    body_part: str = ""
    sequence: str = ""
    plane: str = ""

    def __str__(self) -> str:
        parts = (self.body_part, self.sequence, self.modality, self.plane)
        return " ".join(part for part in parts if part) or "anything"


def _placed(threshold: float, calibration: ValidationInfo) -> float:
    """Allow NaN only without normals: no threshold can be placed then."""
    if math.isfinite(threshold) or (math.isnan(threshold) and not calibration.data.get("normals")):
        return threshold
    raise PydanticKnownError("finite_number")


@dataclass(frozen=True, slots=True)
class Calibration:
    """How scores of normals are distributed, from images the scoring method had not seen.

    Parameters
    ----------
    normals : tuple of float
        Sorted out-of-sample scores of normal slices.
    threshold : float
        A score that reaches it is flagged.
    target_fpr : float
        Share of normal slices that may be flagged.
    provisional : bool
        There were too few normals to place the threshold at that rate.
    map_low, map_high : float
        Patch scores at the low end and the middle of the colour scale: the median of normal
        patches, and the level that the worst patch of a normal slice exceeds at `target_fpr`.
    abnormals : tuple of float
        Sorted out-of-sample scores of the abnormal shots, for information.
    """

    __pydantic_config__ = CLOSED

    normals: tuple[float, ...]
    threshold: Annotated[float, Field(allow_inf_nan=True), AfterValidator(_placed)]
    target_fpr: float
    provisional: bool
    map_low: float
    map_high: float
    abnormals: tuple[float, ...] = ()

    def percentile(self, score: float) -> float:
        """Share of normals that score below, in percent; NaN for NaN."""
        if math.isnan(score) or not self.normals:
            return math.nan
        return 100.0 * bisect_left(self.normals, score) / len(self.normals)

    def at(self, target_fpr: float) -> Calibration:
        """The same normals with the threshold for another rate."""
        threshold, provisional = conformal_threshold(self.normals, target_fpr)
        return replace(self, threshold=threshold, target_fpr=target_fpr, provisional=provisional)


def conformal_threshold(normals: tuple[float, ...], target_fpr: float) -> tuple[float, bool]:
    """Smallest threshold that new normals reach at a rate of at most `target_fpr`.

    Split conformal prediction: with n exchangeable normals, the (n + 1)(1 - rate)-th smallest one
    is exceeded at most at that rate. With fewer than 1 / rate - 1 normals there is no such one;
    then the largest is taken and the threshold is provisional.

    Returns
    -------
    (float, bool)
        The threshold, just above the chosen normal; and whether it is provisional.
    """
    if not normals:
        return math.nan, True
    rank = math.ceil((len(normals) + 1) * (1 - target_fpr))
    provisional = rank > len(normals)
    chosen = sorted(normals)[min(rank, len(normals)) - 1]
    return math.nextafter(chosen, math.inf), provisional


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A detector that another one was made of, with a radiologist's verdicts.

    Parameters
    ----------
    name, digest, licence : str
        Of the detector.
    verdicts : int
        Rows of the verdict file.
    decisions : str
        SHA-256 of that file.
    results : tuple of str
        When the results that it judges were written, ISO 8601.
    kept : int
        Shots of the detector that were found again.
    added : int
        Slices that the verdicts added to them.
    """

    __pydantic_config__ = OPEN  # a newer version may say more

    name: str
    digest: str
    licence: str
    verdicts: Count
    decisions: str
    results: tuple[str, ...]
    kept: Count
    added: Count


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """Settings that decide how the backbone is built; see `medscan.clip.load`."""

    __pydantic_config__ = OPEN  # the others belong to the method, which checks them

    size: int | None = None
    quick_gelu: bool | None = None
    text_quick_gelu: bool | None = None


@dataclass(frozen=True, slots=True)
class Detector:
    """Everything about a fitted method but its tensors.

    Parameters
    ----------
    name : str
        How it is called in reports: the stem of its file.
    digest : str
        SHA-256 of its file; empty before it is saved.
    method, protocol, organ, masked : str, str, str, bool
        See `medscan.methods`.
    settings : dict
        Of the method's dataclass.
    backbone, backbone_digest : str
        What it was fitted on; it runs on nothing else.
    domain : Domain
    window : str
        Rule of `medscan.imaging.parse_rule`.
    calibration : Calibration
    shots : dict
        `normal` and `abnormal`: names of the images it was fitted on.
    fingerprints : tuple of str
        SHA-256 of the files that the shots come from: who measures the detector can tell them,
        whatever they are called.
    selection : str
        "last", or "test" where the epoch was chosen on the test set, as published code does.
    seed : int
    licence : str
        Of the data it was fitted on.
    versions : dict
        Of medscan and the libraries that fitted it.
    lineage : tuple of Ancestor
        What it was made of, oldest first; empty for one that was fitted on data alone.
    """

    __pydantic_config__ = CLOSED

    name: str
    method: str
    protocol: str
    organ: str
    masked: bool
    settings: dict[str, Scalar]
    backbone: str
    backbone_digest: str
    domain: Domain
    window: str
    calibration: Calibration
    shots: dict[str, list[str]] = field(default_factory=dict)
    fingerprints: tuple[str, ...] = ()
    selection: str = "last"
    seed: int = 0
    licence: str = "unknown"
    versions: dict[str, str] = field(default_factory=dict)
    lineage: tuple[Ancestor, ...] = ()
    digest: str = ""

    @property
    def size(self) -> int | None:
        """Input side in pixels, None for the backbone's own."""
        found: int | None = self.settings.get("size")
        return found

    @property
    def tower(self) -> dict[str, Any]:
        """Arguments of `medscan.clip.load` beside the backbone's name."""
        return {f.name: self.settings.get(f.name) for f in fields(TowerSettings)}

    def load_backbone(self, *, device: str, precision: str) -> Backbone:
        """The backbone as it was fitted on: its size and activations are the detector's.

        Raises
        ------
        medscan.errors.WeightsError
            It is not on this machine, or damaged.
        """
        from medscan import clip

        return clip.load(self.backbone, device=device, precision=precision, **self.tower)

    def check(self, backbone: Backbone) -> None:
        """Raise DetectorError if it was fitted on another backbone."""
        if backbone.digest != self.backbone_digest:
            raise DetectorError(
                f"detector {self.name} was fitted on backbone {self.backbone} with hash "
                f"{self.backbone_digest[:12]}, but the one here has {backbone.digest[:12]}; fit it "
                "again or bring that backbone"
            )

    def save(self, path: Path, method: Method) -> Detector:
        """Write the detector with a method's tensors, whole or not at all.

        Raises
        ------
        medscan.errors.DiskError
            It could not be written.
        """
        from safetensors.torch import save

        facts = asdict(self) | {"format": FORMAT}
        for transient in ("digest", "name"):
            facts.pop(transient)
        lineage = facts.pop("lineage")
        told = {"medscan.lineage": json.dumps(lineage)} if lineage else {}
        tensors = {k: v.detach().cpu().contiguous() for k, v in method.state_dict().items()}
        data = save(tensors, metadata=told | {"medscan": json.dumps(facts, sort_keys=True)})
        with replacing(path) as aside:
            aside.write_bytes(data)
        return replace(self, name=path.stem, digest=hashlib.sha256(data).hexdigest())

    def load_method(self, path: Path, backbone: Backbone) -> Method:
        """The method with its tensors, on the backbone it was fitted on.

        Raises
        ------
        DetectorError
            The backbone is another one, or the tensors do not fit it.
        """
        from safetensors.torch import load_file

        from medscan.methods import build, settings_of

        self.check(backbone)
        settings = settings_of(self.method, **self.settings)
        method = build(self.method, backbone, self.organ, settings, masked=self.masked)
        state = load_file(path)
        for name, tensor in state.items():
            _make_room(method, name, tensor.shape)
        try:
            method.load_state_dict(state)
        except RuntimeError as error:
            raise DetectorError(
                f"detector {path}: its tensors are not those of method {self.method}"
            ) from error
        return method.to(backbone.device).eval().requires_grad_(False)


def _make_room(method: Method, name: str, shape: tuple[int, ...]) -> None:
    """Give a buffer whose length depends on the shots (a bank) the length that was saved."""
    owner, _, leaf = name.rpartition(".")
    modules = dict(method.named_modules())
    buffer = getattr(modules.get(owner), leaf, None)
    if leaf == "rows" and buffer is not None and buffer.shape != shape:
        setattr(modules[owner], leaf, buffer.new_zeros(shape))


def read(path: Path) -> Detector:
    """Read a detector's header.

    Raises
    ------
    DetectorError
        There is no such file, it is no detector of a format this medscan reads, or a field of it
        has the wrong type.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DetectorError(f"detector {path} cannot be read: {error.strerror}") from error
    try:
        header = read_header(path)
        facts = json.loads(header.metadata["medscan"])
        lineage = json.loads(header.metadata.get("medscan.lineage", "[]"))
    except (WeightsError, KeyError, ValueError, RecursionError) as error:
        raise DetectorError(f"{path} is no detector file, or is damaged") from error
    if not header.shapes:
        raise DetectorError(f"{path} is no detector file: it holds no tensors")
    if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
        raise DetectorError(f"detector {path} is of a format that this medscan does not read")
    return _from_facts(path, facts, {"name": path.stem, "digest": digest, "lineage": lineage})


def _from_facts(path: Path, facts: dict[str, Any], added: dict[str, Any]) -> Detector:
    subject = f"detector {path}"
    if misplaced := sorted(facts.keys() & added.keys()):
        raise DetectorError(f"{subject} is damaged: {misplaced[0]}: not a field of the file")
    made = checked(Detector, facts | added, subject, DetectorError)
    checked(TowerSettings, made.settings, subject, DetectorError)
    return made


def folders() -> list[Path]:
    """Folders with detectors: those in $MEDSCAN_WEIGHTS, then medscan's own."""
    added = os.environ.get("MEDSCAN_WEIGHTS", "")
    package = Path(__file__).resolve().parent
    own = next(
        (p for p in (package / "weights", package.parent / "weights") if p.is_dir()), package
    )
    return [Path(part) / "detectors" for part in [*added.split(os.pathsep), str(own)] if part]


def shipped() -> list[Path]:
    """Detector files of `folders()`; the first of a name hides later ones."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return [found[name] for name in sorted(found)]


def find(path: Path) -> Path:
    """A detector by its file, or by the name of a shipped one.

    Raises
    ------
    DetectorError
        There is neither.
    """
    if path.is_file():
        return path
    named = next((p for p in shipped() if p.stem == str(path)), None)
    if named is None:
        names = ", ".join(p.stem for p in shipped()) or "none"
        raise DetectorError(
            f"detector {path}: there is no such file, nor a shipped detector of that name "
            f"(shipped: {names}); fit one with `medscan fit`"
        )
    return named
