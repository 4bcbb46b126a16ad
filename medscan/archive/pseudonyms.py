"""Keyed pseudonyms for what identifies a patient, put in its place as soon as it is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from medscan.archive.facts import ANY_TERM, FORMS, MODELS, TERMS, Facts, Form, age_group
from medscan.archive.header import Layer, Record, Sidecar
from medscan.archive.patients import names_nobody
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
"""Words of Body Part Examined (PS3.16 annex L) and of common codes."""
OTHER_MODALITY, OTHER_PART = "OT", "OTHER"
"""Replacements for unknown modalities and body parts, which may hold anything, even a name."""
_UID = re.compile(r"[0-9.]{0,64}", re.ASCII)
_NUMBER = re.compile(r"[0-9.+-]*", re.ASCII)
_NUMBER_FACT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?(e[+-]?[0-9]{1,3})?", re.ASCII)
_WORD = re.compile(r"[^\W_]+")
_VERSION = re.compile(r"[A-Z]{0,3}[0-9]{1,3}[A-Z]{0,2}", re.ASCII)
_LONGEST_NAME = 100
"""Characters of the name of a device that are read."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Rules by which identities are written.

    Texts of a header are replaced as soon as it is read, paths whenever they are written. Kept is
    what the other rooms need: UIDs, by which a PACS finds a study, the date of the study, and words
    that denote a modality, a body part or a sequence.

    Parameters
    ----------
    key : bytes
        Secret of at most 64 bytes: without it no pseudonym can be traced to a patient.
    words : tuple of str
        Upper-case words that detectors look for in descriptions, modalities and body parts: kept.
    pattern : str
        Regular expression whose group 1 is a further part of a description to keep.
    identify : bool
        Write identities unchanged.
    hash_paths : bool
        Write keyed hashes in place of the names in a path.
    """

    key: bytes = field(repr=False)
    words: tuple[str, ...] = ()
    pattern: str = "(?!)()"
    identify: bool = False
    hash_paths: bool = True

    @property
    def rule(self) -> str:
        """Digest of everything `record` depends on: cached results hold while it stays the same."""
        facts = ("5", self.digest("rule"), str(self.identify), self.pattern, *self.words)
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def digest(self, text: str, length: int = 16) -> str:
        """Keyed hash of a text, as `length` hexadecimal digits."""
        data = text.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(data, key=self.key, digest_size=length // 2).hexdigest()

    def patient(self, patient_id: str) -> str:
        """Pseudonym of a PatientID, the same for all studies; empty where it names nobody."""
        return "" if names_nobody(patient_id) else self.digest(f"patient:{patient_id.strip()}")

    def person(self, patient_id: str, person: str) -> str:
        """Pseudonyms of the parts of `Header.person`, which compare within one PatientID only."""
        patient = self.patient(patient_id)
        parts = person.split("/") if patient else []
        return "/".join(part and self.digest(f"person:{patient}:{part}", 8) for part in parts)

    def person_of(self, patient_id: str, person: str) -> str:
        """As `patient_of`."""
        return self.person(patient_id, person) if self.identify else person

    def patient_of(self, patient_id: str) -> str:
        """Pseudonym for a PatientID from `record`, which replaced it already unless `identify`."""
        return self.patient(patient_id) if self.identify else patient_id

    def path(self, path: str) -> str:
        """Path below the archive root, hashed name by name: files of a folder stay together."""
        if not self.hash_paths or path in ("", "."):
            return path
        folder, slash, name = path.rpartition("/")
        return f"{_folder(self, folder) if folder else ''}{slash}{self.digest(name, 12)}"

    def file(self, file: ArchiveFile) -> ArchiveFile:
        """File with pseudonyms for its path and root, for a cache or table; it cannot be opened."""
        return ArchiveFile(self.path(file.path), _root(self, file.root), file.size, file.mtime_ns)

    def root(self, file: ArchiveFile) -> str:
        """Keyed hash of a file's archive root, which does not disclose the path."""
        return self.digest(f"root:{file.root}")

    def uid(self, uid: str) -> str:
        """Return a valid UID unchanged; hash anything else."""
        return uid if _UID.fullmatch(uid) else self.digest(f"uid:{uid}")

    def record(self, record: Record) -> Record:
        """Remove what identifies the patient from a record."""
        if self.identify:
            return record
        if isinstance(record, Outcome):
            return replace(record, study=self.uid(record.study), series=self.uid(record.series))
        if isinstance(record, Sidecar):
            stated = replace(record.stated, facts=_facts(self, tuple(record.stated.facts.items())))
            return replace(record, stated=stated, people={})
        return replace(
            record,
            study_uid=self.uid(record.study_uid),
            series_uid=self.uid(record.series_uid),
            sop_instance_uid=self.uid(record.sop_instance_uid),
            patient_id=self.patient(record.patient_id),
            accession_number="",
            person=_person(self, record.patient_id, record.person),
            facts=_facts(self, tuple(record.facts.items())),
            layers=tuple(_layer(self, layer) for layer in record.layers),
        )

    def outcome(self, outcome: Outcome) -> Outcome:
        """Outcome as the accounting writes it: pseudonyms for paths, also in the detail."""
        detail = f"{outcome.detail} {self.path(outcome.other)}" if outcome.other else outcome.detail
        return replace(outcome, file=self.file(outcome.file), detail=detail, other="")

    def fact(self, keyword: str, value: str) -> str:
        """Return what of a fact identifies nobody; empty where nothing is left."""
        form = FORMS.get(keyword)
        if keyword == "Modality":
            return self._modality(value)
        if keyword == "BodyPartExamined":
            return self._body_part(value)
        if form is Form.NUMBER:
            return value if _NUMBER_FACT.fullmatch(value) else ""
        if form is Form.UID:
            return self.uid(value)
        if form is Form.AGE:
            return age_group(value)
        if form is Form.TERMS:
            return "\\".join(map(_term, value.split("\\")))
        if form is Form.SERIAL:
            return self.digest(f"device:{value}", 8)
        if form is Form.DEVICE:
            return _WORD.sub(self._device_word, value[:_LONGEST_NAME])
        kept = self._description(value.upper()) if form else ""
        return kept or ANY_TERM * (keyword == "ContrastBolusAgent")

    def _device_word(self, match: re.Match[str]) -> str:
        """Keep a word of a model or version; replace another, so that a change still shows."""
        word = match[0].upper()
        known = word in MODELS or word in TERMS or _VERSION.fullmatch(word)
        return match[0] if known else self.digest(f"device:{word}", 6)

    def _description(self, text: str) -> str:
        kept = [word for word in self.words if word in text]
        kept += (match[1] for match in re.finditer(self.pattern, text))
        return " | ".join(dict.fromkeys(kept))

    def _modality(self, text: str) -> str:
        harmless = not text or text in MODALITIES or text in self.words
        return text if harmless else OTHER_MODALITY

    def _body_part(self, text: str) -> str:
        words = set(re.split(r"[\W_]+", text.upper())) - {""}
        return text if words <= BODY_PARTS or text.upper() in self.words else OTHER_PART


@lru_cache(maxsize=64)
def _root(pseudonyms: Pseudonyms, root: Path) -> Path:
    return Path(pseudonyms.digest(str(root))) if pseudonyms.hash_paths else root


@lru_cache(maxsize=1 << 16)
def _folder(pseudonyms: Pseudonyms, path: str) -> str:
    return pseudonyms.path(path)


@lru_cache(maxsize=1 << 12)
def _facts(pseudonyms: Pseudonyms, facts: tuple[tuple[str, str], ...]) -> Facts:
    kept = {keyword: pseudonyms.fact(keyword, value) for keyword, value in facts}
    return {keyword: value for keyword, value in kept.items() if value}


@lru_cache(maxsize=1 << 12)
def _person(pseudonyms: Pseudonyms, patient_id: str, person: str) -> str:
    return pseudonyms.person(patient_id, person)


def _term(text: str) -> str:
    return text if set(_WORD.findall(text)) <= TERMS else ANY_TERM


def _layer(pseudonyms: Pseudonyms, layer: Layer) -> Layer:
    """Replace labels: grouping only asks whether they are equal."""
    return replace(
        layer,
        label=_hashed(layer.label),
        frame_of_reference=_hashed_text(layer.frame_of_reference),
        facts=_facts(pseudonyms, tuple(layer.facts.items())),
    )


def _hashed(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_hashed_text, texts))


@lru_cache(maxsize=1 << 12)
def _hashed_text(text: str) -> str:
    """Hash a text without the key, because the order of stacks must not depend on the key."""
    return text if _NUMBER.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:8]
