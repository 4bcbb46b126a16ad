"""On real files too, evaluate and scan give a slice the same score, to the last bit."""

import shutil

import pytest

from tests.agreement import evaluated, for_anything, scanned

from .conftest import ARCHIVE

DATA = ARCHIVE.parent / "data"
FOLDERS = ("PACS/CT", "PACS/MR", "PACS/US & XA", "research/torchio", "research/fragments")
"""Folders of the archive with series, films, volumes and compressed files of many makers."""
MOST_BYTES = 3 << 20
"""Of a file; larger ones take long."""


@pytest.fixture(scope="module")
def detector(detector_file, backbone, tmp_path_factory):
    return for_anything(detector_file, backbone, tmp_path_factory.mktemp("any") / "d.safetensors")


def compared(detector, root, files, options, tmp_path):
    reference, broken = scanned(detector, root, options)
    found = evaluated(detector, root, sorted({*files} - broken), tmp_path / "m.csv")
    both = found.keys() & reference.keys()
    assert {name: found[name] for name in both} == {name: reference[name] for name in both}
    return len(both)


def test_on_an_archive(catalogue, detector, options, tmp_path):
    stacks = (k for study in catalogue.studies for s in study.series for k in s.stacks)
    files = {frame.file for stack in stacks for frame in stack.frames}
    root = tmp_path / "archive"
    for file in sorted(files):
        if file.path.startswith(FOLDERS) and file.size < MOST_BYTES:
            (root / file.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.full, root / file.path)
    paths = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*")) if p.is_file()]
    assert compared(detector, root, paths, options, tmp_path) > 100


@pytest.mark.parametrize("name", ["brain_mri_lgg", "chest_xray_nih"])
def test_on_pictures(detector, options, tmp_path, name):
    if not DATA.is_dir():
        pytest.skip("no data beside the repository")
    root = tmp_path / name
    for path in sorted((DATA / name / "abnormal").iterdir())[:20]:
        root.mkdir(exist_ok=True)
        shutil.copyfile(path, root / path.name)
    assert compared(detector, root, sorted(p.name for p in root.iterdir()), options, tmp_path) == 20
