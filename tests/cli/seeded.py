"""An archive full of one patient's identity, and a search for it in whatever a program wrote."""

import base64
import gzip
import shutil
import sqlite3
import struct
import warnings
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset

from tests import tiny

SURNAME, GIVEN = "Zwetschkenbaum", "Quirinius"
ID, ACCESSION, BORN = "PX4711QZ", "ACC77123X", "19310417"
SEEDS = (SURNAME, GIVEN, ID, ACCESSION, BORN)
NAME = f"{SURNAME}^{GIVEN}"
TELLING = f"{SURNAME}_{GIVEN}_{ID}_{BORN}_{ACCESSION}"
"""A name for files and folders."""


def write_archive(root: Path) -> Path:
    """Studies, volumes, pictures, broken files and links, named for the patient inside and out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong here is meant to be
        _write(root)
    return root


def _write(root: Path) -> None:
    home = root / TELLING / BORN / ACCESSION
    tiny.write_series(
        home / NAME, tiny.head_volume(1), study="1.2.77.1", description=f"FLAIR {NAME}"
    )
    tiny.write_series(home / "odd", tiny.head_volume(2), study="1.2.77.2")
    for path in sorted((home / NAME).iterdir()) + sorted((home / "odd").iterdir()):
        _identify(path, odd=path.parent.name == "odd")
        path.rename(path.with_name(f"{TELLING}_{path.name}.dcm"))
    _write_volumes(root / GIVEN)
    _write_pictures(root / SURNAME)
    _write_broken(root / ID, next((home / NAME).iterdir()))
    (root / f"{TELLING}.lnk").symlink_to("/etc/passwd")
    (root / f"{ACCESSION}.lnk").symlink_to(home)


def _identify(path: Path, *, odd: bool) -> None:
    """The patient in every tag that may hold text; odd ones also where routing looks."""
    ds = pydicom.dcmread(path)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.AccessionNumber = (
        NAME,
        ID,
        BORN,
        ACCESSION,
    )
    for keyword in ("OtherPatientNames", "ReferringPhysicianName", "OperatorsName"):
        setattr(ds, keyword, NAME)
    for keyword in (
        "PatientComments",
        "StudyDescription",
        "ImageComments",
        "StudyID",
        "ProtocolName",
        "SequenceName",
        "InstitutionName",
        "RequestedProcedureID",
        "ContentLabel",
        "DerivationDescription",
        "StationName",
        "PatientAddress",
    ):
        setattr(ds, keyword, SURNAME if keyword != "StudyID" else ID)
    ds.OtherPatientIDs, ds.PatientMotherBirthName = ID, NAME
    private = ds.private_block(0x0011, f"{SURNAME} PRIVATE", create=True)
    private.add_new(1, "LO", NAME)
    private.add_new(2, "UN", TELLING.encode("utf-16-le"))
    item = Dataset()
    item.PatientID, item.AccessionNumber, item.CodeMeaning = ID, ACCESSION, NAME
    ds.ReferencedPatientSequence = [item]
    ds.file_meta.PrivateInformationCreatorUID = "1.2.3"
    ds.file_meta.PrivateInformation = TELLING.encode() + b" " * (len(TELLING) % 2)
    if odd:
        ds.BodyPartExamined, ds.ImageType = SURNAME.upper(), ["DERIVED", NAME.upper()]
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = ID, ACCESSION
        ds.SOPInstanceUID = f"{ID}.{ds.InstanceNumber}"
        ds.AcquisitionNumber, ds.TriggerTime = None, None
    ds.save_as(path)


def _write_volumes(folder: Path) -> None:
    image = nib.Nifti1Image(tiny.head_volume(3), np.diag([-1.0, -1.0, 1.0, 1.0]))
    image.header["descrip"], image.header["intent_name"] = TELLING[:79], ID
    image.header["aux_file"], image.header["db_name"] = SURNAME, GIVEN
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", TELLING.encode()))
    folder.mkdir(parents=True)
    nib.save(image, folder / f"{TELLING}.nii.gz")
    nib.save(nib.Nifti1Pair(image.get_fdata().astype(np.int16), image.affine), folder / f"{ID}.hdr")
    meta = [
        "ObjectType = Image",
        "NDims = 3",
        "DimSize = 48 48 6",
        "ElementType = MET_SHORT",
        f"PatientName = {NAME}",
        f"ElementDataFile = {TELLING}.raw",
    ]
    (folder / f"{SURNAME}.mhd").write_text("\n".join(meta) + "\n")
    (folder / f"{TELLING}.raw").write_bytes(tiny.head_volume(4).tobytes(order="F"))
    (folder / f"{ACCESSION}.mha").write_text(f"NDims = 3\nDimSize = {ID} 1 1\n")
    nrrd = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nspace: {SURNAME}\n"
    nrrd += "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\n\n"
    (folder / f"{NAME}.nrrd").write_bytes(nrrd.encode() + bytes(16))


def _write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    pixels = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64).astype(np.uint8))
    told = PngImagePlugin.PngInfo()
    told.add_text("Patient", TELLING)
    told.add_itxt("Name", NAME, zip=True)
    pixels.save(folder / f"{TELLING}.png", pnginfo=told)
    exif = Image.Exif()
    exif[0x010E] = TELLING
    pixels.save(folder / f"{ID}.jpg", exif=exif, comment=TELLING.encode())
    pixels.save(folder / f"{NAME}.tiff", tiffinfo={270: TELLING})


def _write_broken(folder: Path, good: Path) -> None:
    folder.mkdir(parents=True)
    data = good.read_bytes()
    shutil.copy(good, folder / f"{TELLING}_copy.dcm")
    (folder / f"{SURNAME}_short.dcm").write_bytes(data[:-700])
    (folder / f"{GIVEN}_header.dcm").write_bytes(data[:500])
    (folder / f"{BORN}.dcm").write_text(TELLING)
    (folder / f"{ID}.txt").write_text(TELLING)
    (folder / f"{ACCESSION}.nii").write_bytes(struct.pack("<i", 348) + TELLING.encode())
    for name, change in {
        "class": {"SOPClassUID": NAME, "PixelData": None},
        "rows": {"Rows": None},
        "syntax": {},
    }.items():
        ds = pydicom.dcmread(good)
        for keyword, value in change.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        ds.SOPInstanceUID = f"1.2.99.{name.encode().hex()}"[:60].translate({97: "1", 98: "2"})
        if name == "syntax":
            ds.file_meta.TransferSyntaxUID = SURNAME
        ds.save_as(folder / f"{TELLING}_{name}.dcm", implicit_vr=False, little_endian=True)


# --- the search -----------------------------------------------------------------------------------


def forms(seed: str) -> list[bytes]:
    """A seed as it may be written, in lower case where case does not matter."""
    text = seed.lower()
    found = [text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be")]
    for plain in (seed, text, seed.upper()):
        found.append(plain.encode().hex().encode())
        for shift in range(3):  # base64 looks different at each place in its groups of three
            whole = base64.b64encode(b"\0" * shift + plain.encode())
            found.append(whole[4 if shift else 0 : -4].lower())
    return found


def seen(data: bytes) -> set[str]:
    """The seeds that bytes hold."""
    data = data.lower()
    return {seed for seed in SEEDS if any(form in data for form in forms(seed))}


def found_below(folder: Path) -> dict[str, set[str]]:
    """Files that hold a seed, in their name or as they are when unpacked, and which."""
    found = {}
    for path in sorted(folder.rglob("*")):
        held = seen(str(path.relative_to(folder)).encode("utf-8", "surrogateescape"))
        if path.is_file():
            held |= set().union(*map(seen, layers(path)))
        if held:
            found[path.name] = held
    return found


def layers(path: Path):
    """A file's bytes, and what is packed in them."""
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:4] == b"\x89HDF":
        yield from _in_hdf5(path)
    if data[:6] == b"SQLite":
        yield from _in_sqlite(path)


def _in_hdf5(path: Path):
    texts = []

    def visit(name, item):
        texts.append(name.encode())
        texts.extend(str(pair).encode("utf-8", "surrogateescape") for pair in item.attrs.items())
        if isinstance(item, h5py.Dataset):
            value = np.asarray(item[()])
            texts.extend(value.ravel().tolist() if value.dtype == object else [value.tobytes()])

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    yield from texts


def _in_sqlite(path: Path):
    with sqlite3.connect(path) as base:
        tables = [
            row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for row in (row for table in tables for row in base.execute(f"SELECT * FROM {table}")):  # noqa: S608
            for value in row:
                yield str(value).encode("utf-8", "surrogateescape")
                if isinstance(value, bytes):
                    try:
                        yield zlib.decompress(value)
                    except zlib.error:
                        continue
    base.close()
