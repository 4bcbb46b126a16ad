"""Archives with a marker at a known place, and results of a detector that sees it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, MRImageStorage

from medscan.archive import Pseudonyms, index
from medscan.detector import Detector, Domain
from medscan.export import ExportJob, LeftOut, exporter
from medscan.imaging import Window, render
from medscan.normals import Calibration
from medscan.planning import maker_of
from medscan.reading.sources import Sources
from medscan.results import Results
from medscan.scoring import describe
from medscan.scoring.stacks import StackBuilder
from tests.imaging.make import MAX_FILE_BYTES, header, write_dicom
from tests.report import make as results_of

ROWS, COLUMNS, COUNT = 45, 13, 6
SIZE, PATCH = 45, 5
GRID = SIZE // PATCH
PIXEL = (11, 27)
"""Of the marker, (column, row): the centre of a patch, however the frame is turned."""
SLICE = 4
SPACING = (0.8, 2.4)
"""Of rows and of columns: whoever swaps them is found out."""
STEP = 3.0
DETECTOR = Detector(
    "seen", "clip", "clean", "", True, {}, "b", "h", Domain(), "window:0,1000",
    Calibration((0.0, 0.1, 0.2), 0.3, 0.05, True, 0.05, 0.4), digest="d" * 64,
)  # fmt: skip

OBLIQUE = np.linalg.qr(np.array([[0.9, 0.3, 0.1], [-0.2, 0.85, 0.4], [0.1, -0.4, 0.9]]))[0]
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "turned": ((0, -1, 0), (-1, 0, 0)),
    "oblique": (tuple(-OBLIQUE[:, 0]), tuple(-OBLIQUE[:, 1])),
}


@dataclass
class Made:
    """A folder of sources, where the marker is (LPS, mm), and results of it."""

    folder: Path
    marker: np.ndarray
    results: Results | None = None

    def job(self, out, **options) -> ExportJob:
        return ExportJob([self.results], out, Sources([self.folder]), **options)


def pixels() -> np.ndarray:
    """Frames (COUNT, ROWS, COLUMNS) with one bright pixel."""
    volume = np.full((COUNT, ROWS, COLUMNS), 100, np.uint16)
    volume[SLICE, PIXEL[1], PIXEL[0]] = 1000
    return volume


def geometry(plane):
    """Row, column and normal directions, and the first pixel's place in each slice."""
    row, column = (np.array(v, float) for v in PLANES[plane])
    normal = np.cross(row, column)
    places = np.array([-31.5, 17.25, 40.0]) + STEP * np.arange(COUNT)[:, None] * normal
    return row, column, places


def marker_of(plane):
    row, column, places = geometry(plane)
    return places[SLICE] + PIXEL[0] * SPACING[1] * row + PIXEL[1] * SPACING[0] * column


COMMON = {
    "StudyInstanceUID": "1.2.840.1",
    "SeriesInstanceUID": "1.2.840.1.2",
    "FrameOfReferenceUID": "1.2.840.1.9",
    "Modality": "MR",
    "PatientName": "Doe^Jane",
    "PatientID": "P1",
    "PatientBirthDate": "19600101",
    "PatientSex": "F",
    "StudyDate": "20240131",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A7",
    "ReferringPhysicianName": "",
    "SeriesNumber": 3,
}


def single(folder, plane="axial", **tags) -> Made:
    """A file a slice."""
    folder.mkdir(parents=True)
    row, column, places = geometry(plane)
    for k, frame in enumerate(pixels()):
        facts = {
            "SOPClassUID": CTImageStorage if tags.get("Modality") == "CT" else MRImageStorage,
            "SOPInstanceUID": f"1.2.840.1.2.{k + 1}",
            "InstanceNumber": k + 1,
            "ImageOrientationPatient": [f"{v:.9f}" for v in (*row, *column)],
            "ImagePositionPatient": [f"{v:.6f}" for v in places[k]],
            "PixelSpacing": list(SPACING),
            "SliceThickness": STEP,
        }
        made = header(frame, **(COMMON | facts | tags))
        for keyword in [e.keyword for e in made if e.value is None]:
            delattr(made, keyword)
        write_dicom(folder / f"{k}.dcm", made)
    return Made(folder, marker_of(plane))


def multiframe(folder, plane="oblique") -> Made:
    """One enhanced object, its frames out of order."""
    folder.mkdir(parents=True)
    row, column, places = geometry(plane)
    order = [3, 0, 5, 1, 4, 2]
    groups = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[f"{v:.6f}" for v in places[k]])],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=k + 1)],
        )
        for k in order
    ]
    turn = [f"{v:.9f}" for v in (*row, *column)]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=list(SPACING), SliceThickness=STEP)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=turn)],
    )
    frames = pixels()[order]
    made = header(
        frames[0],
        **COMMON,
        SOPClassUID=EnhancedMRImageStorage,
        SOPInstanceUID="1.2.840.1.2.77",
        InstanceNumber=1,
        NumberOfFrames=COUNT,
        PerFrameFunctionalGroupsSequence=groups,
        SharedFunctionalGroupsSequence=[shared],
    )
    made.PixelData = frames.tobytes()
    write_dicom(folder / "many.dcm", made)
    return Made(folder, marker_of(plane))


def item(**tags):
    found = Dataset()
    for name, value in tags.items():
        setattr(found, name, value)
    return found


def scanned(made: Made, detector: Detector = DETECTOR, thumbnails: str = "kept") -> Made:
    """With results of a detector that sees what is brighter than the rest."""
    (study,) = index([made.folder]).studies
    results = []
    for series in study.series:
        for stack in series.stacks:
            builder = StackBuilder(series, stack, detector, SIZE, GRID, PATCH, thumbnails)
            slices = render(stack, stack.frames, SIZE, Window(0, 1000), MAX_FILE_BYTES)
            for k, drawn in enumerate(slices):
                cells = drawn.image[0].reshape(GRID, PATCH, GRID, PATCH).max(axis=(1, 3))
                seen = np.clip(cells - 0.1, 0, 1).astype(np.float16)
                builder.keep_image(k, drawn)
                builder.add_score(k, float(seen.max()), seen)
            result = builder.result(0, Pseudonyms(b"key"))
            maker = maker_of(detector.digest, detector.backbone_digest)
            results.append(replace(result, info=result.info | {"maker": maker}))
    info = results_of.run(detectors=[describe(detector)])
    found = replace(results_of.study(study.key, results), key=study.key)
    name = f"{made.folder.name}.h5"
    made.results = results_of.results(made.folder.parent, [found], info, name)
    return made


def exported(name, job):
    """Files written, and what was left out."""
    found = list(exporter(name)(job))
    left = [f for f in found if isinstance(f, LeftOut)]
    return [f for f in found if not isinstance(f, LeftOut)], left


def agree(path: Path, affine: np.ndarray | None = None) -> None:
    """Check that SimpleITK and nibabel read the same voxels at the same places.

    `affine` is that of the file's two forms that ITK takes; None where both are one.
    """
    theirs, ours = SimpleITK.ReadImage(str(path)), nibabel.load(path)
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(theirs).T, np.asanyarray(ours.dataobj, dtype=np.float32)
    )
    forms = ours.get_qform(), ours.get_sform()
    if affine is None:
        # A qform has three numbers of single precision for a turn: near a half turn, readers know
        # it to about a thousandth, here of voxels of up to 3 mm.
        np.testing.assert_allclose(*forms, atol=5e-3)
    for corner in itertools.product(*((0, n - 1) for n in ours.shape[:3])):
        place = (forms[1] if affine is None else affine) @ (*corner, 1)
        found = theirs.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose(found, place[:3] * (-1, -1, 1), atol=1e-3)
