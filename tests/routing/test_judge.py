"""Whether an image fits a domain, does not say, or contradicts it, and by which header values."""

import pytest

from medscan.choices import Plane
from medscan.detector import Domain
from medscan.routing import Answer, judge, verdict

from .make import FLAIR, brain, stack

FITS, SILENT, AGAINST = Answer.FITS, Answer.SILENT, Answer.CONTRADICTS


def answer(domain, given):
    return verdict(judge(domain, given))


def because(domain, given):
    return "; ".join(f.because for f in judge(domain, given) if f.answer is AGAINST)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (brain("AX FLAIR"), FITS),
        (brain("ax t2 flair fs"), FITS),
        (brain("AXFLAIR"), FITS),
        (brain("t2_tirm_tra_dark-fluid"), FITS),
        (brain("FLAIR", BodyPartExamined="HEAD"), FITS),
        (brain(AcquisitionContrast="FLUID_ATTENUATED"), FITS),
        (
            brain(
                ScanningSequence="SE\\IR",
                EchoTime="95",
                InversionTime="2500",
                RepetitionTime="9000",
            ),
            FITS,
        ),
        (brain("FLAIR", ContrastBolusAgent="OTHER"), FITS),
        (brain("FLAIR", InversionTime="0", EchoTime="0"), FITS),
        (brain(), SILENT),
        (brain("study 1"), SILENT),
        (brain(ScanningSequence="SE\\IR", EchoTime="240", RepetitionTime="4000"), SILENT),
        (stack(), SILENT),
        (stack(FileName="sub-01_FLAIR"), SILENT),
        (stack(Modality="MR", SeriesDescription="FLAIR"), SILENT),
        (brain("FLAIR", plane=None), SILENT),
        (brain("FLAIR", BodyPartExamined="ANNOON"), SILENT),
    ],
)
def test_what_fits_a_flair_detector_and_what_does_not_say(given, expected):
    assert answer(FLAIR, given) is expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (brain("FLAIR", Modality="CT"), "Modality CT"),
        (brain("FLAIR", BodyPartExamined="KNEE"), "BodyPartExamined KNEE"),
        (brain("FLAIR", plane=Plane.SAGITTAL), "plane sagittal"),
        (brain("AX T1 POST"), 'SeriesDescription "T1" (T1)'),
        (brain("AXT1"), 'SeriesDescription "T1" (T1)'),
        (brain("AX T2"), 'SeriesDescription "T2" (T2 alone)'),
        (brain("T1 FLAIR"), 'SeriesDescription "T1" (T1)'),
        (brain("FLAIR", EchoTime="9.2"), "EchoTime 9.2 (FLAIR: 60 to 700)"),
        (brain("FLAIR", InversionTime="860"), "InversionTime 860 (FLAIR: 1200 to 3500)"),
        (
            brain("FLAIR", ScanningSequence="GR"),
            "ScanningSequence GR (FLAIR: SE or IR or RM)",
        ),
        (
            brain(ScanningSequence="SE", EchoTime="240", RepetitionTime="4000"),
            "ScanningSequence SE, EchoTime 240, RepetitionTime 4000 (T2 alone)",
        ),
        (brain("WIP B0 NS"), 'SeriesDescription "B0" (B0)'),
        (brain("gre_field_mapping"), 'SeriesDescription "FIELD_MAP" (FIELD MAP)'),
        (brain("FLAIR", ProtocolName="FIELD MAP"), 'ProtocolName "FIELD MAP" (FIELD MAP)'),
        (brain(ImageType="ORIGINAL\\PRIMARY\\P\\ND"), "ImageType P (PHASE)"),
        (brain(ComplexImageComponent="PHASE"), "ComplexImageComponent PHASE (PHASE)"),
        (brain("FLAIR Localizer"), 'SeriesDescription "LOCALI" (LOCALIZER)'),
        (brain("SCOUT"), 'SeriesDescription "SCOUT" (LOCALIZER)'),
        (brain("Survey_MST"), 'SeriesDescription "SURVEY" (LOCALIZER)'),
        (brain("Axial EPI-FMRI"), 'SeriesDescription "EPI" (EPI)'),
        (brain(ScanningSequence="EP\\GR"), "ScanningSequence EP (EPI)"),
        (brain(SequenceName="*epfid2d1_64"), 'SequenceName "EPFID" (EPI)'),
        (brain("DWI b1000"), 'SeriesDescription "DWI" (DWI)'),
        (brain("FLAIR", DiffusionBValue="1000"), "DiffusionBValue 1000 (DWI)"),
        (brain(ImageType="DERIVED\\PRIMARY\\DIFFUSION\\ADC"), "ImageType DIFFUSION (DWI)"),
        (brain("ADC"), 'SeriesDescription "ADC" (ADC)'),
        (brain(ImageType="DERIVED\\PRIMARY\\DIFFUSION\\FA"), "ImageType DIFFUSION (DWI)"),
        (brain(AcquisitionContrast="PERFUSION"), "AcquisitionContrast PERFUSION (PERFUSION)"),
        (brain("MIP FLAIR"), 'SeriesDescription "MIP" (PROJECTION)'),
        (brain("SAG T2 C-SPINE FLAIR"), 'SeriesDescription "SPINE"'),
        (stack(FileName="sub-01_bold"), 'FileName "BOLD" (BOLD)'),
        (stack(FileName="x_pet"), 'FileName "PET"'),
        (stack(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "SOPClassUID 1.2.840"),
        (stack(NumberOfTemporalPositions="20"), "NumberOfTemporalPositions 20 (TIME SERIES)"),
    ],
)
def test_what_contradicts_a_flair_detector_is_named(given, words):
    assert answer(FLAIR, given) is AGAINST
    assert words in because(FLAIR, given)


@pytest.mark.parametrize(
    ("sequence", "given", "expected"),
    [
        ("T1", brain("AX T1 FLAIR", EchoTime="22"), FITS),
        ("T1", brain("MPRAGE"), FITS),
        ("T1", brain("T10 axial"), SILENT),
        ("T1", brain("T1", ContrastBolusAgent="OTHER"), AGAINST),
        ("T1CE", brain("T1", ContrastBolusAgent="OTHER"), FITS),
        ("T1CE", brain("T1"), SILENT),
        ("T2", brain("t2_tse"), FITS),
        ("T2", brain("T2 FLAIR"), AGAINST),
        ("T2", brain("PD T2 dual echo", EchoTime="14"), AGAINST),
        ("PD", brain("PD T2 dual echo", EchoTime="14"), FITS),
        ("DWI", brain("ep2d_diff", ScanningSequence="EP\\SE"), FITS),
        ("DWI", brain("ADC"), AGAINST),
        ("DWI", brain("DTI", SequenceName="*ep_b0", ScanningSequence="EP"), FITS),
        ("T1", brain(ScanningSequence="SE", EchoTime="12", RepetitionTime="540"), FITS),
        ("T1", brain(ScanningSequence="SE", EchoTime="12", RepetitionTime="4000"), AGAINST),
        ("PD", brain(ScanningSequence="SE", EchoTime="12", RepetitionTime="4000"), FITS),
        ("T2", brain(ScanningSequence="GR", EchoTime="80", RepetitionTime="4000"), SILENT),
        ("BOLD", brain(ScanningSequence="EP\\GR"), SILENT),
        ("SWI", brain("SWI", ImageType="ORIGINAL\\PRIMARY\\P"), AGAINST),
        ("STIR", brain("STIR", InversionTime="160"), FITS),
        ("STIR", brain("STIR", InversionTime="2400"), AGAINST),
        ("OWN", brain("my own t1"), FITS),
        ("OWN", brain("t1"), AGAINST),
        ("OWN", brain("own localizer"), AGAINST),
        ("OWN", brain(), SILENT),
        ("", brain("ADC"), FITS),
        ("", brain("LOCALIZER"), AGAINST),
        ("", brain("gre_field_mapping"), AGAINST),
    ],
)
def test_sequences(sequence, given, expected):
    assert answer(Domain("MR", "BRAIN", sequence), given) is expected


@pytest.mark.parametrize(
    ("part", "facts", "expected"),
    [
        ("BRAIN", {"BodyPartExamined": "SKULL"}, FITS),
        ("BRAIN", {"BodyPartExamined": "HEADNECK"}, SILENT),
        ("BRAIN", {"BodyPartExamined": "WHOLE BODY"}, AGAINST),
        ("BRAIN", {"SeriesDescription": "Routine Brain"}, FITS),
        ("BRAIN", {"SeriesDescription": "BRAIN AND C-SPINE"}, FITS),
        ("BRAIN", {"BodyPartExamined": "BRAIN", "SeriesDescription": "L-SPINE"}, AGAINST),
        ("BRAIN", {"StudyDescription": "MRT Kopf"}, FITS),
        ("BRAIN", {"StudyDescription": "LEFT WRIST"}, AGAINST),
        ("BRAIN", {"StudyDescription": "BRAIN AND C-SPINE"}, SILENT),
        ("BRAIN", {"BodyPartExamined": "HEAD", "StudyDescription": "SPINE"}, FITS),
        ("LIVER", {"BodyPartExamined": "ABDOMEN"}, SILENT),
        ("LIVER", {"BodyPartExamined": "ABDOMEN", "SeriesDescription": "LIVER"}, FITS),
        ("CHEST", {"BodyPartExamined": "THORAX"}, FITS),
        ("ABDOMEN", {"BodyPartExamined": "LIVER"}, FITS),
        ("ABDOMEN", {"SeriesDescription": "Liver/Spleen dual"}, FITS),
        ("HEADNECK", {"BodyPartExamined": "BRAIN"}, FITS),
        ("PAW", {"BodyPartExamined": "PAW"}, FITS),
        ("PAW", {"SeriesDescription": "left paw"}, FITS),
        ("PAW", {"BodyPartExamined": "KNEE"}, AGAINST),
        ("", {"BodyPartExamined": "KNEE"}, FITS),
    ],
)
def test_parts_of_the_body(part, facts, expected):
    assert answer(Domain("MR", part), stack(Modality="MR", **facts)) is expected


@pytest.mark.parametrize(
    ("facts", "plane", "expected"),
    [
        ({"Modality": "DX"}, Plane.CORONAL, FITS),
        ({"Modality": "RG", "ViewPosition": "PA"}, Plane.CORONAL, FITS),
        ({"Modality": "CT"}, Plane.CORONAL, AGAINST),
        ({"Modality": "CR", "ViewPosition": "LL"}, Plane.SAGITTAL, AGAINST),
        ({"Modality": "CR"}, None, SILENT),
        ({"Modality": "CR", "SeriesDescription": "CHEST LAT"}, None, AGAINST),
        ({"Modality": "CR", "SeriesDescription": "CHEST PA"}, None, FITS),
        ({"Modality": "CR", "SeriesDescription": "PA and LAT"}, None, SILENT),
        ({"FileName": "chest_xray_PA"}, Plane.CORONAL, FITS),
        ({"FileName": "film"}, Plane.CORONAL, SILENT),
        ({"SeriesDescription": "PET MR"}, Plane.CORONAL, AGAINST),
    ],
)
def test_radiographs_are_one_kind_however_they_were_taken(facts, plane, expected):
    chest = Domain("CR", "CHEST", "", "coronal")
    assert answer(chest, stack(plane, **({"BodyPartExamined": "CHEST"} | facts))) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("BREAST", FITS), ("EPICARDIAL", AGAINST), ("SMALL PARTS", SILENT), ("", SILENT)],
)
def test_the_image_type_of_ultrasound_names_the_part(kind, expected):
    given = stack(None, Modality="US", ImageType=f"ORIGINAL\\PRIMARY\\{kind}")
    assert answer(Domain("US", "BREAST"), given) is expected


@pytest.mark.parametrize("name", ["sub-01_T1w", "x_dwi", "task-rest_bold", "lesion FLAIR"])
def test_sequences_of_mr_contradict_other_modalities(name):
    assert answer(Domain("CR", "CHEST"), stack(FileName=name)) is AGAINST
    assert answer(Domain("MR"), stack(FileName=name)) is SILENT


def test_a_modality_that_contradicts_is_the_only_finding():
    found = judge(FLAIR, stack(Modality="CT", BodyPartExamined="KNEE"))
    assert [finding.part for finding in found] == ["modality"]


def test_a_domain_that_asks_for_nothing_finds_nothing():
    assert judge(Domain(), brain("T1")) == ()
    assert answer(Domain(), stack()) is FITS


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        ("045Y", FITS),
        ("ADULTS", FITS),
        ("017Y", AGAINST),
        ("009M", AGAINST),
        ("CHILDREN", AGAINST),
        ("999Y", SILENT),
        ("", SILENT),
    ],
)
def test_a_detector_for_adults_is_for_no_child(age, expected):
    chest = {"Modality": "DX", "BodyPartExamined": "CHEST"}
    given = stack(Plane.CORONAL, **chest, **({"PatientAge": age} if age else {}))
    assert answer(Domain("CR", "CHEST", "", "coronal", "adults"), given) is expected
    assert answer(Domain("CR", "CHEST", "", "coronal"), given) is FITS


def test_the_reason_names_the_group_and_not_the_age():
    adults = Domain(age="adults")
    assert because(adults, stack(PatientAge="009M")) == "PatientAge children"
    assert answer(Domain(age="children"), stack(PatientAge="009M")) is FITS
