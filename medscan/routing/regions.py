"""Parts of the body, and how headers name them: rules as in `rules`.

Sources: terms of Body Part Examined (DICOM PS3.16 annex L), and words of radiologists in a few
languages.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the body.

    Parameters
    ----------
    name : str
    terms : tuple of str
        Other values of BodyPartExamined that mean it.
    words : tuple of str
        In descriptions.
    within : tuple of str
        Larger parts: an image of one of these may show it or not.
    ultrasound : tuple of str
        Image types of ultrasound that mean it (PS3.3 C.8.5.6.1.1).
    """

    name: str
    terms: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    ultrasound: tuple[str, ...] = ()


REGIONS = (
    Region(
        "BRAIN",
        ("HEAD", "SKULL", "CEREBRUM", "CEREBRAL", "CEREBELLUM", "CRANIUM", "WHOLE BRAIN"),
        ("BRAIN...", "HEAD...", "SKULL...", "CRANI...", "CRANE", "CEREBR...", "KOPF...",
         "SCHAEDEL...", "SCH\N{LATIN CAPITAL LETTER A WITH DIAERESIS}DEL...", "ENCEF...",
         "ENCEPH...", "INTRACRANIAL"),
        ("HEADNECK",), ("NEONATAL HEAD", "TRANSCRANIAL"),
    ),
    Region("ORBIT", ("EYE", "EYELID", "ORBITS"), ("ORBIT...", "EYE..."), (), ("OPHTHALMIC",)),
    Region("SELLA", ("PITUITARY",), ("SELLA...", "PITUIT...", "HYPOPHYS...")),
    Region("EAR", ("IAC", "TEMPORAL BONE", "IAM"), ("IAC", "IAM", "EAR", "TEMPORAL BONE...")),
    Region("FACE", ("SINUS", "NOSE", "JAW", "MAXILLA", "MANDIBLE", "TMJ", "MOUTH", "ZYGOMA"),
           ("SINUS...", "TMJ", "FACE", "FACIAL", "MANDIB...", "MAXILL...", "DENTAL")),
    Region("HEADNECK", ("HEAD AND NECK", "HEAD NECK"), ("HEAD NECK",)),
    Region("NECK", ("LARYNX", "THYROID", "PHARYNX", "PAROTID", "TONGUE", "NECKCHEST"),
           ("NECK...", "THYROID...", "LARYN...", "PHARYN...", "PAROTID..."), ("HEADNECK",),
           ("THYROID",)),
    Region("CAROTID", ("CAROTIDS", "ARTERY"), ("CAROTI...",)),
    Region("SPINE",
           ("CSPINE", "TSPINE", "LSPINE", "SSPINE", "CTSPINE", "TLSPINE", "LSSPINE", "CERVICAL",
            "LUMBAR", "SACRUM", "SACRAL", "COCCYX", "BACK", "SPINAL CORD", "C SPINE", "T SPINE",
            "L SPINE", "CERVICAL SPINE", "THORACIC SPINE", "LUMBAR SPINE", "WHOLE SPINE"),
           ("...SPINE...", "SPINAL...", "CERVICAL...", "LUMBA...", "SACR...", "HWS", "BWS", "LWS",
            "RACHIS", "COLUMNA", "WIRBELS...", "MYELO...", "CORD")),
    Region("CHEST", ("THORAX", "LUNG", "LUNGS", "MEDIASTINUM", "BRONCHUS", "TRACHEA"),
           ("CHEST...", "THORAX...", "LUNG...", "PULMON..."), ("CHESTABDOMEN", "CHESTABDPELVIS"),
           ("CHEST",)),
    Region("RIBS", ("RIB", "STERNUM", "CLAVICLE", "SCAPULA"), ("RIB", "RIBS", "STERN...")),
    Region("HEART", ("CORONARYARTERY", "CARDIAC"),
           ("HEART", "CARDIAC...", "CARDIO...", "CORONARY...", "ECHOCARDIO..."), (),
           ("EPICARDIAL", "CARDIOLOGY", "TEE", "TTE", "INTRACARDIAC")),
    Region("AORTA", (), ("AORT...",)),
    Region("BREAST", ("BREASTS", "MAMMA"),
           ("BREAST...", "MAMMA...", "MAMMO...", "BORST...", "BRUST", "MAMA"), (), ("BREAST",)),
    Region("LIVER", (), ("LIVER...", "HEPAT..."), ("ABDOMEN", "ABDOMENPELVIS", "CHESTABDOMEN")),
    Region("PANCREAS", (), ("PANCREA...", "MRCP"), ("ABDOMEN", "ABDOMENPELVIS")),
    Region("KIDNEY", ("KIDNEYS", "URETER"), ("KIDNEY...", "RENAL..."),
           ("ABDOMEN", "ABDOMENPELVIS")),
    Region("SPLEEN", (), ("SPLE...",), ("ABDOMEN",)),
    Region("ADRENAL", (), ("ADRENA...",), ("ABDOMEN",)),
    Region("ABDOMEN", ("STOMACH", "GALLBLADDER", "COLON", "DUODENUM", "ILEUM", "JEJUNUM"),
           ("ABD", "ABDOM...", "OBERBAUCH...", "ENTERO...", "STOMACH", "COLON..."),
           ("ABDOMENPELVIS", "CHESTABDOMEN", "CHESTABDPELVIS"), ("ABDOMINAL", "RETROPERITONEAL")),
    Region("CHESTABDOMEN"),
    Region("ABDOMENPELVIS"),
    Region("CHESTABDPELVIS"),
    Region("PELVIS", ("PELVIC", "BLADDER", "UTERUS", "OVARY", "RECTUM", "CERVIX"),
           ("PELVI...", "UTER...", "RECTUM", "RECTAL", "BLADDER"),
           ("ABDOMENPELVIS", "CHESTABDPELVIS"), ("PELVIC", "GYNECOLOGY", "ENDOVAGINAL")),
    Region("PROSTATE", (), ("PROSTAT...",), ("PELVIS",), ("ENDORECTAL",)),
    Region("FETUS", (), ("FETUS", "FETAL", "OBSTETR..."), (),
           ("OBSTETRICAL", "FETAL HEART")),
    Region("SHOULDER", ("ACJOINT",), ("SHOULDER...", "SCHULTER")),
    Region("ELBOW", (), ("ELBOW",)),
    Region("WRIST", (), ("WRIST...",)),
    Region("HAND", ("FINGER", "THUMB"), ("HAND", "HANDS", "FINGER...", "THUMB")),
    Region("HIP", ("HIPS",), ("HIP", "HIPS", "HUEFTE")),
    Region("KNEE", ("PATELLA", "KNEES"), ("KNEE", "KNEES", "KNIE")),
    Region("ANKLE", ("CALCANEUS",), ("ANKLE",)),
    Region("FOOT", ("TOE", "FEET"), ("FOOT", "FEET", "TOE")),
    Region("EXTREMITY",
           ("ARM", "LEG", "FEMUR", "TIBIA", "HUMERUS", "THIGH", "CALF", "UPPER LEG", "LOWER LEG",
            "LIMB", "FOREARM"),
           ("TIBIA...", "FEMUR...", "FEMOR...", "HUMER...", "THIGH", "FOREARM", "LEG", "LEGS",
            "EXTREMIT...")),
    Region("WHOLEBODY", ("WHOLE BODY", "BODY", "SKELETON"), ("WHOLE BODY...", "TOTAL BODY...")),
    Region("PHANTOM", (), ("...PHANTOM...", "ACR QA")),
)  # fmt: skip
"""Parts of the body that header and detectors may name."""
