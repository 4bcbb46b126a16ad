"""What identifies a patient, as keyed pseudonyms: it goes no further than where it was read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from medscan.archive.header import Header, Layer
from medscan.archive.types import ArchiveFile, Outcome

_MODALITIES = """
ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC
HD IO IOL IVOCT IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA
PLAN POS PR PT PX RD REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN
RTSTRUCT RWV SC SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC
"""
MODALITIES = frozenset(_MODALITIES.split())
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1), and SC."""
_BODY_PARTS = """
ABDOMEN ACJOINT ADRENAL ANKLE AORTA ARM ARTERY AXILLA BACK BLADDER BODY BONE BRAIN BREAST
BRONCHUS CALCANEUS CALF CAROTID CEREBELLUM CERVIX CEREBRAL CHEEK CHEST CLAVICLE COCCYX COLON
CORNEA CORONARYARTERY CSPINE CERVICAL CTSPINE DUODENUM EAR ELBOW ENTIRE ESOPHAGUS EXTREMITY EYE
EYELID FACE FEMUR FETUS FINGER FOOT GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS ILEUM ILIUM
IAC JAW JEJUNUM JOINT KIDNEY KNEE LARYNX LEG LIMB LIVER LOW LOWER LSPINE LSSPINE LUMBAR LUNG
MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PELVIC
PENIS PHARYNX PROSTATE RECTUM RIB RIBS SACRUM SACRAL SCALP SCAPULA SCLERA SCROTUM SELLA SHOULDER
SIJOINT SINUS SKELETON SKULL SPINE SPLEEN SSPINE STERNUM STOMACH SUBMANDIBULAR TESTIS THIGH
THORACIC THORAX THUMB THYMUS THYROID TIBIA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE UNKNOWN UPPER
URETER URETHRA UTERUS VAGINA VEIN VULVA WHOLEBODY WHOLE WRIST ZYGOMA ABDOMENPELVIS CHESTABDOMEN
CHESTABDPELVIS AND OF REGION
"""
BODY_PARTS = frozenset(_BODY_PARTS.split())
"""Words of Body Part Examined (PS3.16 annex L), and of common codes."""
OTHER_MODALITY, OTHER_PART = "OT", "OTHER"
"""In place of a modality or body part that is none: it may be anything, a name included."""
_UID = re.compile(r"[0-9.]{0,64}", re.ASCII)
_NUMBER = re.compile(r"[0-9.+-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """How identities are written.

    Texts of a header are replaced as soon as it was read, paths wherever they are written. What is
    kept is what the rest needs: UIDs, which a PACS finds a study by, the date of the study, and
    words that mean a modality, a body part or a sequence.

    Parameters
    ----------
    key : bytes
        Secret of at most 64 bytes; without it a pseudonym leads nowhere.
    words : tuple of str
        What detectors ask of descriptions, modalities and body parts, in upper case: kept.
    pattern : str
        Regular expression of what else is kept of a description.
    identify : bool
        Write identities as they are.
    hash_paths : bool
        Write keyed hashes in place of the names in a path.
    """

    key: bytes = field(repr=False)
    words: tuple[str, ...] = ()
    pattern: str = "(?!)"
    identify: bool = False
    hash_paths: bool = True

    @property
    def rule(self) -> str:
        """What `header` depends on, beside the header: what it made holds for the same rule."""
        facts = ("1", self.digest("rule"), str(self.identify), self.pattern, *self.words)
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def digest(self, text: str, length: int = 16) -> str:
        """Keyed hash of a text, in hexadecimal digits."""
        data = text.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(data, key=self.key, digest_size=length // 2).hexdigest()

    def patient(self, patient_id: str) -> str:
        """The same for all studies of a patient; empty for none."""
        patient_id = patient_id.strip()
        return self.digest(f"patient:{patient_id}") if patient_id else ""

    def patient_of(self, known: str) -> str:
        """Pseudonym of a patient as `header` left the ID: already one, unless `identify`."""
        return self.patient(known) if self.identify else known

    def path(self, path: str) -> str:
        """A path below the archive root, name by name: files of one folder stay together."""
        if not self.hash_paths or path in ("", "."):
            return path
        folder, slash, name = path.rpartition("/")
        return f"{_folder(self, folder) if folder else ''}{slash}{self.digest(name, 12)}"

    def file(self, file: ArchiveFile) -> ArchiveFile:
        """A file under its pseudonyms, for a cache or a table; it cannot be opened."""
        return ArchiveFile(self.path(file.path), _root(self, file.root), file.size, file.mtime_ns)

    def root(self, file: ArchiveFile) -> str:
        """Key of the archive root of a file, which does not tell where that lies."""
        return self.digest(f"root:{file.root}")

    def uid(self, uid: str) -> str:
        """A UID as it is; a hash of what is none."""
        return uid if _UID.fullmatch(uid) else self.digest(f"uid:{uid}")

    def header(self, found: Header | Outcome) -> Header | Outcome:
        """What was read of a file, without what identifies the patient."""
        if self.identify:
            return found
        if isinstance(found, Outcome):
            return replace(found, study=self.uid(found.study), series=self.uid(found.series))
        return replace(
            found,
            study_uid=self.uid(found.study_uid),
            series_uid=self.uid(found.series_uid),
            sop_instance_uid=self.uid(found.sop_instance_uid),
            patient_id=self.patient(found.patient_id),
            modality=self._modality(found.modality),
            body_part=self._part(found.body_part),
            description=self._description(found.description.upper()),
            layers=tuple(_layer(layer) for layer in found.layers),
        )

    def entry(self, outcome: Outcome) -> Outcome:
        """A row of the accounting as it is written: paths as pseudonyms, in the detail too."""
        detail = f"{outcome.detail} {self.path(outcome.other)}" if outcome.other else outcome.detail
        return replace(outcome, file=self.file(outcome.file), detail=detail, other="")

    def _description(self, text: str) -> str:
        found = [word for word in self.words if word in text]
        found += (match[0] for match in re.finditer(self.pattern, text))
        return " | ".join(dict.fromkeys(found))

    def _modality(self, text: str) -> str:
        known = not text or text in MODALITIES or text in self.words
        return text if known else OTHER_MODALITY

    def _part(self, text: str) -> str:
        words = set(re.split(r"[\W_]+", text.upper())) - {""}
        return text if words <= BODY_PARTS or text.upper() in self.words else OTHER_PART


@lru_cache(maxsize=64)
def _root(pseudonyms: Pseudonyms, root: Path) -> Path:
    return Path(pseudonyms.digest(str(root))) if pseudonyms.hash_paths else root


@lru_cache(maxsize=1 << 16)
def _folder(pseudonyms: Pseudonyms, path: str) -> str:
    return pseudonyms.path(path)


def _layer(layer: Layer) -> Layer:
    """Labels and times only need to differ where they differed."""
    return replace(layer, label=_marks(layer.label), phase=_marks(layer.phase))


def _marks(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_mark, texts))


@lru_cache(maxsize=1 << 12)
def _mark(text: str) -> str:
    """Not keyed: stacks that start alike are ordered by it."""
    return text if _NUMBER.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:8]
