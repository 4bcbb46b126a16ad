"""A detector: a fitted method, the domain it is for, and the calibration of its scores.

The file is safetensors: the tensors of `Method.state_dict()`, and everything else as JSON under the
metadata key `medscan`. The detectors that it was refitted from are under a separate key,
`medscan.lineage`, so that older versions can read such files. The annotations of the classes below
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
    """

    __pydantic_config__ = CLOSED

    modality: str = ""
    body_part: str = ""
    sequence: str = ""
    plane: str = ""

    def __str__(self) -> str:
        parts = (self.body_part, self.sequence, self.modality, self.plane)
        return " ".join(part for part in parts if part) or "anything"


def _check_threshold(threshold: float, calibration: ValidationInfo) -> float:
    """Allow NaN only without normals, which a threshold is computed from."""
    if math.isfinite(threshold) or (math.isnan(threshold) and not calibration.data.get("normals")):
        return threshold
    raise PydanticKnownError("finite_number")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Distribution of the scores of normals that the scoring method had not seen.

    Parameters
    ----------
    normals : tuple of float
        Sorted out-of-sample scores of normal slices.
    threshold : float
        Scores from this value up are flagged.
    target_fpr : float
        Share of normal slices that may be flagged.
    provisional : bool
        Whether there were too few normals for a threshold at that rate.
    map_low, map_high : float
        Patch scores at the low end and the middle of the colour scale: the median of normal
        patches, and the level that the worst patch of a normal slice exceeds at `target_fpr`.
    abnormals : tuple of float
        Sorted out-of-sample scores of the abnormal shots, for information.
    """

    __pydantic_config__ = CLOSED

    normals: tuple[float, ...]
    threshold: Annotated[float, Field(allow_inf_nan=True), AfterValidator(_check_threshold)]
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

    def at_rate(self, target_fpr: float) -> Calibration:
        """The same normals with the threshold for another rate."""
        threshold, provisional = conformal_threshold(self.normals, target_fpr)
        return replace(self, threshold=threshold, target_fpr=target_fpr, provisional=provisional)


def conformal_threshold(normals: tuple[float, ...], target_fpr: float) -> tuple[float, bool]:
    """Smallest threshold that new normals reach at a rate of at most `target_fpr`.

    Split conformal prediction: with n exchangeable normals, the (n + 1)(1 - rate)-th smallest score
    is exceeded at most at that rate. With fewer than 1 / rate - 1 normals that rank does not exist;
    then the largest score is used and the threshold is provisional.

    Returns
    -------
    (float, bool)
        The threshold, just above the score of that rank; and whether it is provisional.
    """
    if not normals:
        return math.nan, True
    rank = math.ceil((len(normals) + 1) * (1 - target_fpr))
    provisional = rank > len(normals)
    chosen = sorted(normals)[min(rank, len(normals)) - 1]
    return math.nextafter(chosen, math.inf), provisional


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A detector that was refitted with a radiologist's verdicts.

    Parameters
    ----------
    name, digest, licence : str
        As in `Detector`.
    verdicts : int
        Number of rows of the verdict file.
    decisions : str
        SHA-256 of that file.
    results : tuple of str
        Times at which the judged results were written, ISO 8601.
    kept : int
        Number of the detector's own shots that were used again.
    added : int
        Number of slices that the verdicts added.
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

    __pydantic_config__ = OPEN  # other settings are the method's, which checks them

    size: int | None = None
    quick_gelu: bool | None = None
    text_quick_gelu: bool | None = None


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
        size: int | None = self.settings.get("size")
        return size

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
        from safetensors.torch import save

        facts = asdict(self) | {"format": FORMAT}
        for transient in ("digest", "name"):
            facts.pop(transient)
        lineage = facts.pop("lineage")
        metadata = {"medscan.lineage": json.dumps(lineage)} if lineage else {}
        metadata["medscan"] = json.dumps(facts, sort_keys=True)
        tensors = {k: v.detach().cpu().contiguous() for k, v in method.state_dict().items()}
        data = save(tensors, metadata=metadata)
        with replacing(path) as aside:
            aside.write_bytes(data)
        return replace(self, name=path.stem, digest=hashlib.sha256(data).hexdigest())

    def load_method(self, path: Path, backbone: Backbone) -> Method:
        """Load the method with its tensors, on the backbone it was fitted on.

        Raises
        ------
        DetectorError
            If the backbone is another one, or the tensors do not fit the method.
        """
        from safetensors.torch import load_file

        from medscan.methods import build, settings_of

        self.check_backbone(backbone)
        settings = settings_of(self.method, **self.settings)
        method = build(self.method, backbone, self.organ, settings, masked=self.masked)
        state = load_file(path)
        for name, tensor in state.items():
            _resize_bank(method, name, tensor.shape)
        try:
            method.load_state_dict(state)
        except RuntimeError as error:
            raise DetectorError(
                f"detector {path}: its tensors are not those of method {self.method}"
            ) from error
        return method.to(backbone.device).eval().requires_grad_(False)


def _resize_bank(method: Method, name: str, shape: tuple[int, ...]) -> None:
    """Resize a bank's buffer, whose length depends on the shots, to the saved shape."""
    module_name, _, leaf = name.rpartition(".")
    modules = dict(method.named_modules())
    buffer = getattr(modules.get(module_name), leaf, None)
    if leaf == "rows" and buffer is not None and buffer.shape != shape:
        setattr(modules[module_name], leaf, buffer.new_zeros(shape))


def read(path: Path) -> Detector:
    """Read a detector's header.

    Raises
    ------
    DetectorError
        If the file does not exist, is not a detector of a format that this medscan reads, or has a
        field of the wrong type.
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
        raise DetectorError(f"{path} is not a detector file, or is damaged") from error
    if not header.shapes:
        raise DetectorError(f"{path} is not a detector file: it has no tensors")
    if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
        raise DetectorError(f"detector {path} is of a format that this medscan cannot read")
    return _from_facts(path, facts, {"name": path.stem, "digest": digest, "lineage": lineage})


def _from_facts(path: Path, facts: dict[str, Any], added: dict[str, Any]) -> Detector:
    subject = f"detector {path}"
    if misplaced := sorted(facts.keys() & added.keys()):
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
    if path.is_file():
        return path
    match = next((p for p in shipped() if p.stem == str(path)), None)
    if match is None:
        names = ", ".join(p.stem for p in shipped()) or "none"
        raise DetectorError(
            f"detector {path}: no such file, and no shipped detector of that name (shipped: "
            f"{names}); fit one with `medscan fit`"
        )
    return match
