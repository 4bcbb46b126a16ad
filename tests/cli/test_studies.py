"""`medscan fit --labels`: README's line, what is said, and refusals that leave nothing behind."""

import re
import shlex
from pathlib import Path

import pytest

from medscan import detector
from medscan.archive import key_of
from tests.bags.conftest import uid, write_labels, write_study

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def site(tmp_path):
    for number in range(1, 5):
        write_study(tmp_path / "archive", number, lesion=number > 2)
    return tmp_path / "archive"


@pytest.fixture
def fit(inside, site, backbone_folder):
    def run(rows, *words, head="StudyInstanceUID,label"):
        write_labels(Path("labels.csv"), rows, head)
        own = ("--backbone", f"local-dir:{backbone_folder}", "--shots", 2)
        return inside("fit", "--archive", site, "--labels", "labels.csv", *own, *words)

    return run


ROWS = "".join(f"{uid(n)},{'abnormal' if n > 2 else 'normal'}\n" for n in range(1, 5))


def test_the_line_of_the_readme(fit):
    (line,) = re.findall(r"^medscan fit --archive .*$", README.read_text("utf-8"), re.M)
    words = shlex.split(line)[2:]
    assert words[:4] == ["--archive", "/archive", "--labels", "labels.csv"]
    code, out, err = fit(ROWS, *words[4:])
    assert code == 0, err
    assert "discriminant on " in out
    assert err.splitlines()[:2] == [
        "medscan: fitting on BRAIN FLAIR MR axial, window auto",
        "medscan: read 2 normal and 2 abnormal studies; fitting on 8 normal and 8 abnormal slices",
    ]
    assert detector.read(Path("head.safetensors")).domain.sequence == "FLAIR"


def test_values_of_the_site_are_mapped(fit):
    rows = ROWS.replace("abnormal", "SAH").replace("normal", "none")
    words = ("--normal", "none", "--abnormal", "ICH", "--abnormal", "SAH", "--method", "patchcore")
    code, _, err = fit(rows, *words)
    assert code == 0, err
    assert "read 2 normal and 0 abnormal studies" in err


@pytest.mark.parametrize(
    ("rows", "words", "why"),
    [
        ("9.9,normal\n", (), "none of the 1 rows of labels.csv matches a study"),
        (f"{uid(1)},normal\n{uid(1)},abnormal\n", (), "lines 2 and 3: study 1.2.3.1 is labelled"),
        (f"{uid(1)},none\n", (), "label 'none' is not normal or abnormal"),
        (ROWS, ("--shots", 3), "3 normal studies were asked for, but there are 2"),
        (ROWS, ("--modality", "CT"), "no labelled study has an image of CT"),
        (ROWS, ("data",), "give --archive and no data"),
        (ROWS, ("--select", "test"), "--select test"),
        (ROWS, ("--zero-shot",), "not for --labels"),
        (ROWS, ("--target-fpr", 2), "--target-fpr must lie between 0 and 1"),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing_behind(fit, rows, words, why):
    code, out, err = fit(rows, "--method", "patchcore", *words)
    assert (code, out) == (2, "")
    assert why in err.splitlines()[-1]
    assert [path.name for path in Path().iterdir()] == ["labels.csv"]


def test_options_of_studies_need_a_table(inside, site):
    code, _, err = inside("fit", "--archive", site)
    assert (code, err.count("\n")) == (2, 1)
    assert "add --labels" in err


def test_refit_finds_the_shots_in_results_of_the_same_archive(fit, inside, site):
    assert fit(ROWS, "--method", "discriminant", "--out", "a.safetensors")[0] == 0
    code, _, err = inside("scan", site, "--detector", "a.safetensors", "--out", "n.h5")
    assert code == 0, err
    Path("d.csv").write_text(f"study,verdict\n{uid(1)},normal\n")
    more = ("--results", "n.h5", "--archive", site, "--out", "b.safetensors")
    code, _, err = inside("refit", "a.safetensors", "d.csv", *more)
    assert code == 0, err
    old, new = (detector.read(Path(f"{name}.safetensors")) for name in "ab")
    judged = key_of(uid(1))
    kept = [name for name in old.shots["normal"] if judged not in name]
    assert len(kept) == 4
    assert set(kept) < set(new.shots["normal"])
    assert new.shots["abnormal"] == old.shots["abnormal"]
    assert new.lineage[0].kept == 12
    assert len(new.calibration.normals) == 5, "four by height, one drawn of the judged study"


def test_evaluate_knows_whom_it_was_fitted_on(fit, inside, site):
    """By another slice of a study, under another name, which gave no shot itself."""
    rows = "".join(f"{uid(n)},{'1,abnormal' if n > 2 else '1,normal'}\n" for n in range(1, 5))
    head = "study,slice,label"
    code, _, err = fit(rows, "--method", "patchcore", "--out", "a.safetensors", head=head)
    assert code == 0, err
    for folder, study in (("normal", 1), ("abnormal", 3)):
        Path("data", folder).mkdir(parents=True)
        Path("data", folder, "x").write_bytes((site / f"s{study}" / "0003").read_bytes())
    Path("data/cases.csv").write_text("case,split\nx,test\n")
    code, _, err = inside("evaluate", "a.safetensors", "data")
    assert (code, "patients of the test split gave shots to a" in err) == (2, True), err
