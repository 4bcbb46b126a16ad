"""What a header says an image is: values of DICOM elements, by keyword, whatever the format.

A DICOM file states them itself; of other formats, `FILE_NAME` is known, and what is written beside
them. Detectors are chosen by these facts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from pydicom.dataset import Dataset

from medscan.archive.values import has, numbers, sequence, text

Facts = Mapping[str, str]
"""Value by keyword, as DICOM writes it: several are divided by backslashes, times are milliseconds.
What is not stated is not there. `FILE_NAME` is the only key that is no DICOM keyword."""

FILE_NAME = "FileName"
"""Name of a volume or picture, without its folder and suffix."""


class Form(Enum):
    """What the values of an element are, and so what of them can be shown to anybody."""

    TERMS = "terms"
    """Code strings: defined terms, in capitals."""
    NUMBER = "number"
    UID = "uid"
    TEXT = "text"
    """Free text, which may hold a name."""
    AGE = "age"
    """Age String (PS3.5 6.2): without `--identify` only its group is shown, see `age_group`."""
    DEVICE = "device"
    """What a vendor writes of a device: words of models, and versions."""
    SERIAL = "serial"
    """What tells one device from all others."""


class Fact(NamedTuple):
    """An element, and where enhanced objects have it: in groups, by other keywords, as a code."""

    keyword: str
    form: Form
    groups: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    code: str = ""


_IMAGE = "MRImageFrameTypeSequence"
FRAME_TYPES = (
    _IMAGE,
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XRay3DFrameTypeSequence",
    "USImageDescriptionSequence",
)
_TIMING, _MODIFIER = "MRTimingAndRelatedParametersSequence", "MRModifierSequence"
_REGION, _AGENT = "AnatomicRegionSequence", "ContrastBolusAgentSequence"

FACTS = (
    Fact("SOPClassUID", Form.UID),
    Fact("Modality", Form.TERMS),
    Fact("BodyPartExamined", Form.TERMS, code=_REGION),
    Fact("StudyDescription", Form.TEXT),
    Fact("SeriesDescription", Form.TEXT),
    Fact("ProtocolName", Form.TEXT),
    Fact("SequenceName", Form.TEXT, (), ("PulseSequenceName",)),
    Fact("ImageType", Form.TERMS, FRAME_TYPES, ("FrameType",)),
    Fact("ScanningSequence", Form.TERMS),
    Fact("SequenceVariant", Form.TERMS),
    Fact("ScanOptions", Form.TERMS),
    Fact("MRAcquisitionType", Form.TERMS),
    Fact("AcquisitionContrast", Form.TERMS, (_IMAGE,)),
    Fact("ComplexImageComponent", Form.TERMS, (_IMAGE,)),
    Fact("EchoPulseSequence", Form.TERMS),
    Fact("EchoPlanarPulseSequence", Form.TERMS),
    Fact("InversionRecovery", Form.TERMS, (_MODIFIER,)),
    Fact("EchoTime", Form.NUMBER, ("MREchoSequence",), ("EffectiveEchoTime",)),
    Fact("InversionTime", Form.NUMBER, (_MODIFIER,), ("InversionTimes",)),
    Fact("RepetitionTime", Form.NUMBER, (_TIMING,)),
    Fact("FlipAngle", Form.NUMBER, (_TIMING,)),
    Fact("DiffusionBValue", Form.NUMBER),
    Fact("NumberOfTemporalPositions", Form.NUMBER),
    Fact("ContrastBolusAgent", Form.TEXT, code=_AGENT),
    Fact("ViewPosition", Form.TERMS),
    Fact("MagneticFieldStrength", Form.NUMBER),
    Fact("Manufacturer", Form.TERMS),
    Fact("PatientAge", Form.AGE),
)
"""What is read, in the order in which it is shown. Of the b-value, see `diffusion`."""
DEVICE = (
    Fact("ManufacturerModelName", Form.DEVICE),
    Fact("SoftwareVersions", Form.DEVICE),
    Fact("DeviceSerialNumber", Form.SERIAL),
    Fact("StationName", Form.SERIAL),
    Fact("SliceThickness", Form.NUMBER, ("PixelMeasuresSequence",)),
    Fact("ConvolutionKernel", Form.DEVICE, ("CTReconstructionSequence",)),
)
"""What is read of the device and its settings as well, which chooses no detector."""
DEVICE_KEYWORDS = frozenset(fact.keyword for fact in DEVICE)
IN_GROUPS = tuple(fact for fact in FACTS if fact.groups)
"""Those that may differ from frame to frame of an enhanced object."""

NO_AGENT = ("NO", "NONE", "N", "N/A", "NA", "-", "WITHOUT")
"""Contrast agents that are none."""
FORMS = {fact.keyword: fact.form for fact in (*FACTS, *DEVICE)} | {FILE_NAME: Form.TEXT}
DESCRIBING = ("SeriesDescription", "ProtocolName", "SequenceName", FILE_NAME)
"""What describes a series in words."""
KEYWORDS = (
    *(keyword for fact in (*FACTS, *DEVICE) for keyword in (fact.keyword, *fact.others)),
    _REGION,
    _AGENT,
    "PatientBirthDate",
    "StudyDate",
)
"""Elements of an object that are read here."""

ADULTS, CHILDREN = "ADULTS", "CHILDREN"
"""Groups of ages."""
_GROWN, _OLDEST = 18, 130
"""Years from which a patient is an adult, and after which an age is taken for a placeholder."""
_AGE = re.compile(r"(\d{3})([DWMY])")
_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}
_DATE = re.compile(r"\d{8}")

_TERMS = """
ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER OTHER NONE MIXED UNKNOWN YES NO SE IR GR EP
RM SK MTC SS TRSS SP MP OSP FC FS PFP PFF CG RG PPG IP WE GEMS FAST EDR SEQ EPI FMRI 1D 2D 3D M
P R I FFE PCA TSE TFE MAGNITUDE PHASE REAL IMAGINARY VELOCITY DENSITY ND NORM DIS2D DIS3D MOSAIC
MEAN RMS STD MAX MIN MAP MAPS FIELD FIELDMAP B0 B1 DIFFUSION ANISO ISO ADC EADC EXP FA TRACEW
TRACE TENSOR COLFA DTI PERFUSION ASL CBF CBV MTT TTP TMAX RCBF RCBV RCMTT RTTP RELCBF RELCBV
RELMTT SUBTRACTION FLOW ENCODED FLUID ATTENUATED PROTON STIR TAGGING TEMPERATURE T1 T2 STAR R1
R2 TOF WATER FAT IN OUT OPP SWI MNIP MINIP MIP MPR VOLUME RESAMPLED REFORMATTED CURVED
PROJECTION IMAGE QUANTITY CSA CT SOM5 SPI TEST ANGIO STATIC DYNAMIC GATED WHOLE BODY NEONATAL
HEAD TRANSCRANIAL OPHTHALMIC THYROID CHEST EPICARDIAL CARDIOLOGY TEE TTE INTRACARDIAC BREAST
ABDOMINAL RETROPERITONEAL PELVIC GYNECOLOGY ENDOVAGINAL OBSTETRICAL FETAL HEART ENDORECTAL SMALL
PARTS EMISSION TRANSMISSION TOMO RECON SPIN GRADIENT BOTH SCREEN SAVE DOSEINFO MODE HELICAL CINE
SCOUT SIEMENS HEALTHINEERS GE MEDICAL SYSTEMS HEALTHCARE PHILIPS CANON TOSHIBA MEC HITACHI
FUJIFILM AGFA CARESTREAM KODAK HOLOGIC LORAD SAMSUNG ELECTRONICS UIH UNITED IMAGING HYPERFINE
BRUKER BIOSPIN INC AP PA LL RL RLD LLD RLO LLO CC MLO ML LM LMO FB SIO XCC XCCL XCCM CV AT LEFT
RIGHT
"""
TERMS = frozenset(_TERMS.split())
"""Words of code strings that identify nobody: those of DICOM PS3.3 C.7.6.1, C.8.3, C.8.5.6,
C.8.11 and C.8.13, and of vendors."""
_MODELS = """
MAGNETOM SKYRA AERA AVANTO PRISMA VIDA SOLA LUMINA ALTEA TRIO VERIO SPECTRA ESPREE SYMPHONY SONATA
TERRA BIOGRAPH SOMATOM FORCE DEFINITION SENSATION EMOTION FLASH EDGE DRIVE CONFIDENCE NAEOTOM ALPHA
SYNGO NUMARIS SIGNA OPTIMA DISCOVERY PREMIER ARTIST EXPLORER PIONEER VOYAGER CREATOR REVOLUTION
LIGHTSPEED BRIGHTSPEED EXCITE HDX HDXT HDE EVO EVOLUTION INGENIA ACHIEVA INTERA PANORAMA DSTREAM
AMBITION ELITION PRODIVA MULTIVA ICT IQON INCISIVE INGENUITY BRILLIANCE VANTAGE TITAN ORIAN GALAN
ELAN AQUILION ONE PRIME PRECISION GENESIS LIGHTNING ECHELON OVAL SMART APERTO SWOOP RELEASE LEVEL
MR MRI CT PET STANDARD DETAIL BONE BONEPLUS LUNG EDGE
"""
MODELS = frozenset(_MODELS.split())
"""Words of the names of scanners, software and kernels, which identify nobody."""
ANY_TERM = "OTHER"
"""Stands for what is no such term."""


def facts_of(
    items: Callable[[str], list[Dataset]], asked: Sequence[Fact] = (*FACTS, *DEVICE)
) -> dict[str, str]:
    """Read the facts of an object, or of one of its frames.

    Parameters
    ----------
    items : callable
        See `cues.Items`.
    asked : sequence of Fact

    Returns
    -------
    dict
        In the order of `asked`.
    """
    found = {fact.keyword: _read(fact, items) for fact in asked}
    return {keyword: value for keyword, value in found.items() if value}


def described(facts: Facts) -> str:
    """The texts that describe a series, each once, divided by bars."""
    return " | ".join(dict.fromkeys(facts[k] for k in DESCRIBING if facts.get(k)))


def number_text(value: float) -> str:
    """Number as a fact."""
    return f"{value:.6g}"


def age_group(age: str) -> str:
    """Group of an Age String, or of what is a group already; empty for what is neither."""
    if age.upper() in (ADULTS, CHILDREN):
        return age.upper()
    match = _AGE.fullmatch(age.upper())
    years = int(match[1]) / _A_YEAR[match[2]] if match else _OLDEST + 1
    if years > _OLDEST:
        return ""
    return ADULTS if years >= _GROWN else CHILDREN


def _read(fact: Fact, items: Callable[[str], list[Dataset]]) -> str:
    if fact.form is Form.AGE:
        found = _stated(fact, items)
        return found if age_group(found) else _age_by_birth(items(""))
    return _stated(fact, items) or (_meaning(items, fact.code) if fact.code else "")


def _age_by_birth(sources: Sequence[Dataset]) -> str:
    """Age String in whole years by dates of birth and study; empty where they tell none."""
    dates = [
        next((t for source in sources if _DATE.fullmatch(t := text(source, keyword))), "")
        for keyword in ("PatientBirthDate", "StudyDate")
    ]
    # As numbers YYYYMMDD: ten thousand a year, whatever the month and day.
    years = (int(dates[1]) - int(dates[0])) // 10_000 if all(dates) else -1
    age = f"{years:03d}Y"
    return age if years >= 0 and age_group(age) else ""


def _stated(fact: Fact, items: Callable[[str], list[Dataset]]) -> str:
    sources = [source for group in fact.groups or ("",) for source in items(group)]
    for keyword in (*fact.others, fact.keyword):
        for source in sources:
            if has(source, keyword) and (found := _value(fact, source, keyword)):
                return found
    return ""


def _value(fact: Fact, source: Dataset, keyword: str) -> str:
    if fact.form is Form.NUMBER:
        found = numbers([source], keyword, 1)
        return number_text(found[0]) if found else ""
    found_text = text(source, keyword)
    if keyword == "ContrastBolusAgent" and found_text.upper() in NO_AGENT:
        return ""
    shouted = fact.form is Form.TERMS and fact.keyword != "BodyPartExamined"
    return found_text.upper() if shouted else found_text


def _meaning(items: Callable[[str], list[Dataset]], keyword: str) -> str:
    """Meaning of the first code of a sequence, of the object or in the group of its anatomy."""
    holders = [s for group in ("", "FrameAnatomySequence") for s in items(group)]
    codes = [code for holder in holders for code in sequence(holder, keyword)[:1]]
    return next((t for code in codes if (t := text(code, "CodeMeaning"))), "")


def shared(facts: Facts) -> Facts:
    """Return facts, the same object for equal ones: files of a series have them in common."""
    return _shared(tuple(facts.items())) if facts else _NONE


_NONE: Facts = {}


@lru_cache(maxsize=1 << 12)
def _shared(pairs: tuple[tuple[str, str], ...]) -> Facts:
    return dict(pairs)
