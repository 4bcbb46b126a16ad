"""How headers name what they show: the rules that detectors are chosen by, as data.

Words are matched in capitals and as a whole: "LOC" is not found in "BLOCK". Letters and digits may
follow where a word ends in "...", but no number goes on: "T1..." is found in "T1W", not in "T10".
They may stand before it where it begins so. A space stands for a space, hyphen, underscore or
nothing. The names of planes may stand before any word: "AXT1".

Sources: defined terms of DICOM PS3.3 C.7.3.1.1.1 (modalities), C.7.6.1.1.2, C.8.3.1.1 and
C.8.13.3.1.1 (image types and contrasts of MR) and C.8.11 (views);
names of sequences that vendors print in their manuals; suffixes of BIDS. Ranges of times are wider
than those of clinical protocols from 0.06 to 7 tesla.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

INF = float("inf")


class Range(NamedTuple):
    """Numbers from `low` to `high`; a header's 0 means that nothing was stated."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} or more" if self.high == INF else f"{self.low:g} to {self.high:g}"


class Without(NamedTuple):
    """Terms of which a header states none, but others."""

    terms: tuple[str, ...]

    def __str__(self) -> str:
        return f"without {' or '.join(self.terms)}"


Values = Range | Without | tuple[str, ...]
"""Numbers, or terms of which a header states one; "..." stands for any."""
Conditions = Mapping[str, Values]
"""Values by keyword, all of them stated."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of image of one modality, and what in a header says so.

    Parameters
    ----------
    name : str
        As people are shown it, and as a detector's domain may name it.
    words : tuple of str
        In descriptions; any of them says it.
    says : tuple of dict
        Any of them says it.
    needs : dict
        A stated value that is not among these rules it out, whatever words say.
    implies : tuple of str
        Kinds that it always is too: to name them adds nothing.
    bears : tuple of str
        Kinds that it may be too.
    apart : bool
        What shows it is not what detectors for other kinds are for.
    useless : bool
        What shows it is for no detector that does not name it.
    """

    name: str
    words: tuple[str, ...] = ()
    says: tuple[Conditions, ...] = ()
    needs: Conditions = field(default_factory=dict)
    implies: tuple[str, ...] = ()
    bears: tuple[str, ...] = ()
    apart: bool = False
    useless: bool = False


def _typed(*terms: str) -> tuple[Conditions, ...]:
    """Conditions that an image type or acquisition contrast states one of the terms."""
    return ({"ImageType": terms}, {"AcquisitionContrast": terms})


_SPIN: Conditions = {"ScanningSequence": ("SE", "IR", "RM"), "EchoPulseSequence": ("SPIN", "BOTH")}
_PLAIN_SPIN: Conditions = {"ScanningSequence": Without(("IR", "EP", "GR", "RM"))}
"""A spin echo without inversion: its times tell its weighting."""
_FLAIR_TIMES: Conditions = {
    "EchoTime": Range(60, 700),
    "InversionTime": Range(1200, 3500),
    "RepetitionTime": Range(2500, 30_000),
}

_ANY = (
    Kind(
        "LOCALIZER",
        ("LOCALI...", "LOC", "SCOUT...", "AASCOUT...", "AAHEAD SCOUT...", "SURVEY...", "SURVIEW",
         "PILOT...", "TOPOGRAM...", "SCANOGRAM...", "3 PLANE...", "3PL", "3 PL"),
        ({"ImageType": ("LOCALIZER",)}, {"ScanOptions": ("SCOUT MODE",)}),
        apart=True, useless=True,
    ),
    Kind(
        "SCREEN",
        ("SCREEN SAVE...", "SCREENSHOT...", "DOSE REPORT...", "PATIENT PROTOCOL"),
        ({"ImageType": ("SCREEN SAVE", "DOSEINFO")},),
        apart=True, useless=True,
    ),
    Kind(
        "PROJECTION",
        ("MIP", "MIPS", "MINIP", "MNIP", "PROJECTED...", "PROJECTION..."),
        ({"ImageType": ("PROJECTION IMAGE", "CSA MIP", "MIP", "MINIP", "MNIP", "MAX IP",
                        "MIN IP")},),
        apart=True,
    ),
    Kind(
        "SUBTRACTION",
        ("SUBTR...",),
        ({"ImageType": ("SUBTRACTION",)},),
        apart=True,
    ),
    Kind(
        "TIME SERIES",
        ("DYN", "DYNAMIC...", "CINE...", "4D FLOW"),
        ({"NumberOfTemporalPositions": Range(2, INF)},),
        apart=True,
    ),
)  # fmt: skip

_MR = (
    Kind(
        "CALIBRATION",
        ("CALIB...", "ASSET CAL...", "REF SCAN", "SENSE REF...", "PRESCAN...", "SHIM...",
         "COIL SURVEY", "COIL SENS..."),
        apart=True, useless=True,
    ),
    Kind(
        "FIELD MAP",
        ("FIELD MAP...", "FMAP", "...FIELDMAP...", "B0 MAP...", "B1 MAP...", "FM2D...", "FM3D...",
         "PHASEDIFF", "PHASE1", "PHASE2", "MAGNITUDE1", "MAGNITUDE2", "TOPUP", "DISTORTION MAP"),
        ({"ImageType": ("FIELD MAP", "FIELDMAP", "B0 MAP", "B1 MAP", "B0", "B1")},),
        apart=True, useless=True,
    ),
    Kind("B0", ("B0",), apart=True),
    Kind(
        "PHASE",
        ("PHA IMAGES", "PHASE IMAGES", "PART PHASE"),
        (
            {"ImageType": ("P", "I", "R", "PHASE", "PHASE MAP", "P SE", "P FFE", "P IR", "P PCA",
                           "R SE", "R FFE", "R IR", "I SE", "I FFE", "I IR")},
            {"ComplexImageComponent": ("PHASE", "REAL", "IMAGINARY", "MIXED")},
        ),
        apart=True,
    ),
    Kind(
        "MAP",
        ("MAP", "MAPS", "MAPPING", "T1 MAP...", "T2 MAP...", "R2 MAP...", "QT1...", "QT2...",
         "MOLLI...", "RELAXOMETRY", "QSM", "MTR", "T1MAP", "T2MAP"),
        ({"ImageType": ("T1 MAP", "T2 MAP", "T2 STAR MAP", "R1 MAP", "R2 MAP", "R2 STAR MAP",
                        "QUANTITY")},),
        apart=True,
    ),
    Kind(
        "SPECTROSCOPY",
        ("MRS", "SPECTRO...", "CSI", "SVS...", "STEAM...", "MRSI"),
        apart=True,
    ),
    Kind(
        "EPI",
        ("EPI", "EP2D...", "EPFID...", "EPSE...", "SEEPI...", "EPI2D...", "SSEPI"),
        (
            {"ScanningSequence": ("EP",)},
            {"EchoPlanarPulseSequence": ("YES",)},
            {"ImageType": ("EPI", "FMRI")},
        ),
        bears=("TIME SERIES",), apart=True,
    ),
    Kind(
        "BOLD",
        ("BOLD...", "FMRI...", "RSFMRI", "RESTING STATE...", "RS BOLD", "SBREF", "TASK",
         "FUNC", "FUNCTIONAL"),
        ({"ImageType": ("FMRI",)},),
        implies=("T2STAR",), bears=("EPI", "TIME SERIES"), apart=True,
    ),
    Kind(
        "DWI",
        ("DWI...", "DTI...", "DIFF", "DIFFUSION...", "DWIBS", "EP B...", "TRACE...", "B1000",
         "HARDI...", "DMRI"),
        (*_typed("DIFFUSION"), {"DiffusionBValue": Range(1, INF)}),
        implies=("EPI", "T2"), bears=("CE", "TIME SERIES", "B0"), apart=True,
    ),
    Kind(
        "ADC",
        ("ADC...", "DADC...", "EADC", "APPARENT DIFFUSION..."),
        ({"ImageType": ("ADC", "EADC")},),
        implies=("DWI", "EPI", "T2"), bears=("MAP", "CE"), apart=True,
    ),
    Kind(
        "FA",
        ("COLFA", "FA MAP...", "FRACTIONAL ANISO...", "TENSOR...", "COLOR FA", "FACOL"),
        ({"ImageType": ("FA", "COLFA", "TENSOR")},),
        implies=("DWI", "EPI", "T2"), bears=("MAP", "CE"), apart=True,
    ),
    Kind(
        "PERFUSION",
        ("PERF", "PERFUSION...", "DSC", "DCE...", "CBF...", "CBV...", "RCBV...", "RCBF...", "MTT",
         "RMTT", "TTP", "TMAX"),
        (*_typed("PERFUSION"),
         {"ImageType": ("CBF", "CBV", "MTT", "TTP", "TMAX", "RCBF", "RCBV", "RCMTT", "RTTP",
                        "RELCBF", "RELCBV", "RELMTT")}),
        implies=("EPI", "T2STAR"), bears=("CE", "MAP", "T1", "ASL", "SUBTRACTION", "TIME SERIES"),
        apart=True,
    ),
    Kind(
        "ASL",
        ("ASL...", "PCASL...", "PASL...", "M0SCAN"),
        ({"ImageType": ("ASL",)},),
        implies=("PERFUSION", "EPI"), bears=("SUBTRACTION", "MAP", "TIME SERIES"), apart=True,
    ),
    Kind(
        "SWI",
        ("SWI...", "SWAN...", "VENO...", "VEN BOLD", "SWIP"),
        ({"ImageType": ("SWI",)},),
        implies=("T2STAR",), bears=("CE",), apart=True,
    ),
    Kind(
        "T2STAR",
        ("T2*", "T2 STAR...", "T2STAR...", "HEMO", "T2 GRE", "T2 FL2D"),
        _typed("T2 STAR"),
        implies=("T2",), bears=("CE",), apart=True,
    ),
    Kind(
        "MRA",
        ("TOF...", "MRA", "MRV", "CEMRA", "ANGIO...", "PCA...", "INHANCE..."),
        (*_typed("TOF", "FLOW ENCODED", "ANGIO", "VELOCITY"),),
        implies=("T1",), bears=("CE",), apart=True,
    ),
    Kind(
        "SSFP",
        ("CISS...", "FIESTA...", "TRUFI...", "BSSFP", "BTFE...", "BFFE...", "TRUEFISP"),
        bears=("CE",), apart=True,
    ),
    Kind("MT", ("MTC", "MTR", "MT0", "MT1", "MT ON", "MT OFF"), bears=("T1", "CE"), apart=True),
    Kind("DIR", ("DIR", "DOUBLE INVERSION..."), bears=("T2", "FLAIR", "CE"), apart=True),
    Kind("PSIR", ("PSIR...",), bears=("T1", "CE", "PHASE"), apart=True),
    Kind(
        "FLAIR",
        ("...FLAIR...", "DARK FLUID...", "DA FL", "FLUID ATTENUATED..."),
        (*_typed("FLUID ATTENUATED"),
         {"ScanningSequence": ("SE",), **_FLAIR_TIMES},
         {"InversionRecovery": ("YES",), "EchoPulseSequence": ("SPIN",), **_FLAIR_TIMES}),
        {**_SPIN, **_FLAIR_TIMES, "InversionRecovery": ("YES",)},
        implies=("T2",), bears=("CE",),
    ),
    Kind(
        "STIR",
        ("STIR...",),
        _typed("STIR"),
        {**_SPIN, "InversionTime": Range(50, 450)},
        implies=("T2",), bears=("T1", "PD", "CE"),
    ),
    Kind(
        "T1",
        ("T1...", "...MPRAGE...", "MP RAGE...", "MEMPRAGE...", "SPGR...", "FSPGR...", "BRAVO...",
         "TFL3D...", "VIBE...", "UNIT1", "MP2RAGE..."),
        (*_typed("T1"),
         {**_PLAIN_SPIN, "EchoTime": Range(0.1, 30), "RepetitionTime": Range(1, 1000)}),
        {"EchoTime": Range(0.1, 40), "InversionTime": Range(1, 1600)},
        bears=("FLAIR",),
    ),
    Kind(
        "T2",
        ("T2...",),
        (*_typed("T2"),
         {**_PLAIN_SPIN, "EchoTime": Range(60, 700), "RepetitionTime": Range(1800, INF)}),
        {"EchoTime": Range(50, 700)},
        bears=("PD", "CE"),
    ),
    Kind(
        "PD",
        ("PD", "PDW...", "PD FS", "PROTON DENS...", "PDT2"),
        (*_typed("PROTON DENSITY"),
         {**_PLAIN_SPIN, "EchoTime": Range(0.1, 40), "RepetitionTime": Range(1800, INF)}),
        {"EchoTime": Range(0.1, 60)},
        bears=("T2", "CE"),
    ),
    Kind(
        "CE",
        ("GD", "GAD...", "GADO...", "POST CONTRAST", "POST GD", "CONTRAST", "CE", "+C", "C+", "KM",
         "T1C", "T1CE", "T1GD", "POST", "CE T1..."),
        ({"ContrastBolusAgent": ("...",)},),
    ),
)  # fmt: skip

_CT = (
    Kind(
        "PERFUSION",
        ("PERF", "PERFUSION...", "CTP", "CBF...", "CBV...", "MTT", "TTP", "TMAX"),
        ({"ImageType": ("PERFUSION", "CBF", "CBV", "MTT", "TTP", "TMAX", "RCBF", "RCBV",
                        "RCMTT", "RTTP")},),
        bears=("CE", "TIME SERIES"), apart=True,
    ),
    Kind("CTA", ("CTA...", "ANGIO...", "CORONARY..."), implies=("CE",), apart=True),
    Kind("PLAIN", ("PLAIN", "NATIVE", "NATIV", "NON CONTRAST", "NONCON", "WO CONTRAST",
                   "WO IVCON", "UNENHANCED")),
    Kind("CE", ("CE", "CECT", "POST CONTRAST", "W CONTRAST", "KM", "ENHANCED", "PORTAL VENOUS",
                "ARTERIAL..."),
         ({"ContrastBolusAgent": ("...",)},)),
)  # fmt: skip

RADIOGRAPHS = ("CR", "DX", "RG")
"""Modalities that are all projection radiographs."""
SAME_MODALITY = dict.fromkeys(RADIOGRAPHS, "CR") | {"MRI": "MR", "PET": "PT", "MAMMO": "MG"}
"""Modalities, and names that are used in their place, with the one that stands for them."""

MODALITY_WORDS: Mapping[str, tuple[str, ...]] = {
    "MR": ("MR", "MRI"),
    "CT": ("CT", "CTA"),
    "PT": ("PET",),
    "US": ("ULTRASOUND", "SONO..."),
    "CR": ("XRAY", "X RAY", "CXR", "RADIOGRAPH..."),
    "MG": ("MAMMO...",),
}
"""Modalities by words in descriptions, where neither Modality nor the SOP class says one."""
_CLASSES = {
    "MR": ("4", "4.1", "4.3", "4.4"),
    "CT": ("2", "2.1", "2.2"),
    "CR": ("1", "1.1", "1.1.1"),
    "MG": ("1.2", "1.2.1", "13.1.3"),
    "US": ("3.1", "6.1", "6.2"),
    "PT": ("128", "128.1", "130"),
    "NM": ("20",),
    "XA": ("12.1", "12.1.1", "12.2", "12.2.1", "13.1.1", "13.1.2"),
    "SC": ("7", "7.1", "7.2", "7.3", "7.4"),
}
CLASSES = {f"1.2.840.10008.5.1.4.1.1.{c}": m for m, cs in _CLASSES.items() for c in cs}
"""Modalities by SOP class (PS3.4 annex B), for objects that state none: secondary captures may."""

MR_ONLY = ("FLAIR", "STIR", "T1", "T2", "T2STAR", "DWI", "ADC", "BOLD", "SWI", "ASL")
"""Kinds whose words no other modality uses: they contradict it where none is stated."""
KINDS: Mapping[str, tuple[Kind, ...]] = {"MR": (*_ANY, *_MR), "CT": (*_ANY, *_CT), "": _ANY}
"""Kinds by modality; the empty one stands for any other."""

VIEWS: Mapping[str, tuple[str, ...]] = {
    "coronal": ("PA", "AP", "FRONTAL"),
    "sagittal": ("LAT", "LATERAL", "LL"),
}
"""Planes of radiographs by words, where neither ViewPosition nor PatientOrientation says one."""
