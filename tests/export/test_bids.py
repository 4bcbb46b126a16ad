"""Maps as a BIDS derivatives data set: named as its sources, and valid."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from medscan.export import ExportJob
from tests.export.make import Made, exported, pixels, scanned, single
from tests.report import make

ANAT = "sub-01/ses-2/anat/sub-01_ses-2_acq-3d_{}FLAIR.nii.gz"


def refused(folder):
    """What the validator of BIDS holds against a data set."""
    validator = shutil.which("bids-validator-deno", path=Path(sys.executable).parent)
    assert validator, "needs the BIDS validator: pip install bids-validator-deno"
    done = subprocess.run(
        [validator, folder, "--format", "json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


def from_file(path, key="s1", **info):
    """A stack of a volume file whose path is written as it is."""
    stack = make.stack(key, n=8, pictures=0, kind="nifti", **info)
    return replace(stack, path=[path] * 8)


def written(folder, *studies):
    results = make.results(folder, studies)
    files, left = exported("bids", ExportJob([results], folder / "out"))
    names = sorted(str(file.relative_to(folder / "out")) for file in files)
    return [name for name in names if name.endswith(".nii.gz")], left


def table(path):
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_map_bears_the_name_of_its_source(tmp_path):
    names, left = written(tmp_path, make.study("aaa", [from_file(ANAT.format(""))]))
    assert (names, left) == ([ANAT.format("desc-anomaly_")], [])
    assert refused(tmp_path / "out") == []
    session = tmp_path / "out/sub-01/ses-2"
    (row,) = table(session / "sub-01_ses-2_scans.tsv")
    assert row["filename"] == "anat/sub-01_ses-2_acq-3d_desc-anomaly_FLAIR.nii.gz"
    assert (row["score"], row["flagged"], row["study"]) == ("0.700000", "1", "aaa")
    meanings = json.loads((session / "sub-01_ses-2_scans.json").read_text())
    assert meanings.keys() == row.keys()
    facts = json.loads((session / row["filename"].replace(".nii.gz", ".json")).read_text())
    assert (facts["Detector"], facts["PatchThreshold"]) == ("brain-flair", 0.5)
    (tmp_path / "out/sub-01/ses-2/anat/FLAIR.nii.gz").write_bytes(b"")
    assert refused(tmp_path / "out") != []


def test_a_table_tells_what_a_person_has_to_look_at(tmp_path):
    open_ones = [
        from_file(ANAT.format(""), threshold=0.8, uncertain_from=0.6),
        from_file(ANAT.format("run-2_"), "s2", threshold=0.8, unlike=["voxels", "kernel"]),
    ]
    written(tmp_path, make.study("aaa", open_ones))
    rows = table(tmp_path / "out/sub-01/ses-2/sub-01_ses-2_scans.tsv")
    told = sorted((row["flagged"], row["uncertain"], row["unlike"]) for row in rows)
    assert told == [("0", "0", "voxels; kernel"), ("0", "1", "n/a")]
    assert refused(tmp_path / "out") == []


def test_without_a_bids_name_pseudonyms_and_keys_are_the_name(tmp_path):
    shown = [make.study("aaa", [make.stack("s1"), make.stack("s-2", n=3)])]
    shown += [make.study("bbb", [from_file("0a1b/2c3d/4e5f.nii.gz", sequence="")], patient="")]
    names, left = written(tmp_path, *shown)
    assert left == []
    assert names == [
        "sub-bbb/ses-bbb/mr/sub-bbb_ses-bbb_rec-s1_desc-anomaly_mr.nii.gz",
        "sub-p1f2e3d/ses-aaa/anat/sub-p1f2e3d_ses-aaa_rec-s1_desc-anomaly_FLAIR.nii.gz",
        "sub-p1f2e3d/ses-aaa/anat/sub-p1f2e3d_ses-aaa_rec-s2_desc-anomaly_FLAIR.nii.gz",
    ]
    assert refused(tmp_path / "out") == []


PATHS = [
    "sub-1/func/sub-1_task-rest_run-2_bold.nii.gz",
    "sub-1/dwi/sub-1_dwi.nii.gz",
    "sub-1/fmap/sub-1_magnitude1.nii.gz",
    "sub-1/perf/sub-1_asl.nii.gz",
    "sub-1/pet/sub-1_trc-FDG_pet.nii.gz",
    "sub-1/ct/sub-1_ct.nii.gz",
    "sub-1/anat/sub-1_ce-Gd_T1w.nii.gz",
    "sub-1/anat/sub-1_space-MNI152_desc-preproc_T1w.nii.gz",
]
DOMAINS = [("CR", ""), ("US", ""), ("PT", ""), ("", ""), ("DOE^JANE", ""), ("MR", ""), ("CT", "")]
DOMAINS += [("MR", name) for name in ("FLAIR", "T1", "T2", "PD", "DWI", "ADC", "TOF", "SWI")]


def test_maps_of_all_data_types_and_modalities_are_valid(tmp_path):
    stacks = [from_file(path, f"a{n}", modality="") for n, path in enumerate(PATHS)]
    stacks += [
        make.stack(f"b{n}", n=3, pictures=0, modality=modality, sequence=sequence)
        for n, (modality, sequence) in enumerate(DOMAINS)
    ]
    names, left = written(tmp_path, make.study("aaa", stacks))
    assert (len(names), left) == (len(stacks), [])
    assert {str(Path(path).parent) for path in PATHS} <= {str(Path(name).parent) for name in names}
    assert "DOE" not in "".join(names)
    assert refused(tmp_path / "out") == []


def test_a_tilted_stack_and_a_later_volume_have_labels_of_their_own(tmp_path):
    tilted = {"orientation": [1.0, 0, 0, 0, 1.0, 0], "last": [-80.0, -86.0, 1.0]}
    stacks = [from_file(ANAT.format(""), **tilted), from_file(ANAT.format(""), "s1-2")]
    names, _ = written(tmp_path, make.study("aaa", stacks))
    labels = ("anomaly2", "anomalyUpright", "anomaly")
    assert names == [ANAT.format(f"desc-{label}_") for label in labels]
    assert [row["desc_id"] for row in table(tmp_path / "out/descriptions.tsv")] == [
        "desc-anomaly",
        "desc-anomaly2",
        "desc-anomalyUpright",
    ]
    assert refused(tmp_path / "out") == []


def test_a_kept_map_of_another_detector_has_a_label_of_its_own(tmp_path):
    stacks = [from_file(ANAT.format("")), from_file(ANAT.format(""), "s1-dddddddd", stack="s1")]
    names, left = written(tmp_path, make.study("aaa", stacks))
    assert left == []
    assert names == [ANAT.format(f"desc-anomaly{end}_") for end in ("Bydddddddd", "")]
    assert refused(tmp_path / "out") == []


def test_of_two_maps_with_one_name_the_second_is_told(tmp_path):
    studies = [make.study(k, [from_file(f"{k}/{ANAT.format('')}")]) for k in ("aaa", "bbb")]
    names, (left,) = written(tmp_path, *studies)
    assert len(names) == 1
    assert left.what == "study bbb, stack s1"
    assert "export each BIDS data set by itself" in left.why


def test_the_source_is_found_and_linked(tmp_path):
    folder = tmp_path / "site" / "ds"
    path = folder / "sub-01/anat/sub-01_FLAIR.nii.gz"
    path.parent.mkdir(parents=True)
    affine = np.diag([-1.5, -1.5, 3.0, 1.0])
    image = nibabel.Nifti1Image(pixels().transpose(2, 1, 0).astype(np.int16), affine)
    image.to_filename(path)
    made = scanned(Made(tmp_path / "site", np.zeros(3)))
    out = folder / "derivatives" / "medscan"
    files, left = exported("bids", made.job(out))
    assert left == []
    sidecar = out / "sub-01/anat/sub-01_desc-anomaly_FLAIR.json"
    assert sidecar in files
    assert json.loads(sidecar.read_text())["Sources"] == [
        "bids:source:sub-01/anat/sub-01_FLAIR.nii.gz"
    ]
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert (out / links["source"]).resolve() == folder
    assert refused(out) == []
    found = nibabel.as_closest_canonical(nibabel.load(sidecar.with_suffix(".nii.gz")))
    source = nibabel.as_closest_canonical(image)
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-4)
    assert found.shape == source.shape


def test_dicom_stays_pseudonymous(tmp_path):
    made = scanned(single(tmp_path / "sub-Doe"))
    files, left = exported("bids", made.job(tmp_path / "out"))
    assert left == []
    text = "".join(str(f.relative_to(tmp_path)) + f.read_bytes().decode("latin1") for f in files)
    assert "Doe" not in text
    assert refused(tmp_path / "out") == []


def test_the_same_results_give_the_same_bytes(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        written(tmp_path / name, make.study("aaa", [from_file(ANAT.format(""))]))
    first, second = (
        {str(f.relative_to(top)): f.read_bytes() for f in top.rglob("*") if f.is_file()}
        for top in (tmp_path / "a/out", tmp_path / "b/out")
    )
    assert len(first) == 8
    assert first == second
