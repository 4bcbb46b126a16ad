"""The commands as a user runs them: real processes, exit codes, one line for every mistake."""

import csv
import json
import re
import subprocess
import sys
import time

from medscan.cli import tree
from tests import tiny
from tests.cli.conftest import MEDSCAN


def one_line(done, code):
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_is_quick(environment):
    spent = []
    for _ in range(4):
        started = time.monotonic()
        done = subprocess.run(
            [*MEDSCAN, "--help"], env=environment, capture_output=True, text=True, check=True
        )
        spent.append(time.monotonic() - started)
    assert "scan" in done.stdout
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import medscan.cli"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert not [
        name for name in ("torch", "open_clip", "h5py", "numpy") if f" {name}\n" in imported
    ]
    # A bare interpreter's start is the machine's doing; four of them are allowed for.
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], env=environment, check=True)
    assert min(spent) < max(0.3, 15 * (time.monotonic() - started))


def test_help_is_plain_text_that_names_everything(inside):
    code, out, _ = inside("--help")
    assert (code, out.isascii()) == (0, True)
    for name, command in tree().commands.items():
        assert f"\n  {name} " in out
        assert command.help in " ".join(out.split()), "a summary is whole"
    assert "..." not in out.replace("[ARGS]...", "")
    code, out, _ = inside("scan", "--help")
    assert (code, out.isascii()) == (0, True)
    headings = re.findall(r"^(\w.*):$", out, re.M)
    assert headings == [
        *("Arguments", "Input", "Output", "What to scan first, and how much", "Compute"),
        *("Privacy", "Options", "Examples"),
    ]
    words = " ".join(out.split())
    for fact in (
        "--order path|newest|oldest Which studies to scan first. [default: path]",
        "such as 15m. [default: 0]",
        "--batch-size N|auto Slices per batch. [default: auto]",
        "[default: 8]",
        "[default: beside --out]",
    ):
        assert fact in words
    assert max(map(len, out.splitlines())) <= 80


def test_every_help_ends_with_two_examples(inside):
    groups = {name: getattr(c, "commands", {}) for name, c in tree().commands.items()}
    inner = [(name, child) for name, children in groups.items() for child in children]
    for words in [(), *((name,) for name in groups), *inner]:
        code, out, _ = inside(*words, "--help")
        assert code == 0
        examples = out.partition("\nExamples:\n")[2].splitlines()
        assert len(examples) == 2, words
        assert all(" ".join(("medscan", *words)) in line for line in examples)


def test_fit_scan_report_export(medscan, backbone_folder, pictures, tmp_path):
    fitted = medscan(
        *("fit", pictures, "--shots", 4, "--backbone", f"local-dir:{backbone_folder}"),
        *("--organ", "Brain", "--modality", "MR", "--plane", "axial", "--folds", 2),
        *("--method", "mvfa", "--set", "epochs=2"),
        *("--out", "brain.safetensors", "--device", "cpu"),
    )
    assert fitted.returncode == 0, fitted.stderr
    assert "provisional" in fitted.stdout
    tiny.write_series(tmp_path / "archive" / "a", tiny.head_volume(1), study="1.2")
    tiny.write_series(tmp_path / "archive" / "b", tiny.head_volume(2), study="1.3")
    words = ("scan", "archive", "--detector", "brain.safetensors", "--out", "night.h5")
    scanned = medscan(*words)
    assert scanned.returncode == 0, scanned.stderr
    assert scanned.stderr == ""
    assert len(scanned.stdout.splitlines()) == 1
    assert "2 studies scanned (12 slices" in scanned.stdout
    again = medscan(*words, "--json")
    assert json.loads(again.stdout)["unchanged"] == 2
    with (tmp_path / "night.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert float(rows[0]["score"]) >= float(rows[1]["score"])
    assert "Worklist" in (tmp_path / "night.html").read_text()
    assert medscan("report", "night.h5", "--out", "copy").returncode == 0
    assert (tmp_path / "copy" / "results.csv").read_bytes() == (tmp_path / "night.csv").read_bytes()
    exported = medscan("export", "night.h5", "--to", "nifti", "--out", "maps")
    assert exported.returncode == 0, exported.stderr
    assert len(list((tmp_path / "maps").glob("*.nii.gz"))) == 2
    words = ("export", "night.h5", "--to", "dicom-sr", "--out", "objects")
    assert medscan(*words).returncode == 2
    exported = medscan(*words, "--archive", "archive")
    assert exported.returncode == 0, exported.stderr
    assert "2 files written to objects; they name the patients" in exported.stdout
    (tmp_path / "none").mkdir()
    exported = medscan(*words, "--archive", "none")
    assert exported.returncode == 3
    assert len(exported.stderr.splitlines()) == 2
    assert "not in the archive" in exported.stderr


def test_a_dry_run_writes_nothing(medscan, detector_file, tmp_path):
    tiny.write_series(tmp_path / "archive", tiny.head_volume(1), study="1.2")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = medscan("scan", "archive", "--detector", detector_file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "tiny-flair: 1 stacks, 6 slices" in done.stdout
    assert "about" in done.stdout
    told = medscan("scan", "archive", "--detector", detector_file, "--dry-run", "--json")
    assert json.loads(told.stdout)["slices"] == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_mistakes_are_one_line_and_write_nothing(medscan, detector_file, tmp_path):
    (tmp_path / "archive").mkdir()
    before = sorted(tmp_path.iterdir())
    assert "does not exist" in one_line(medscan("scan", "nowhere", "--detector", detector_file), 2)
    assert "no such file" in one_line(medscan("scan", "archive", "--detector", "none"), 2)
    assert "does not exist" in one_line(medscan("report", "none.h5"), 2)
    assert "does not exist" in one_line(medscan("fit", "nowhere"), 2)
    assert "--batch-size" in one_line(medscan("scan", "archive", "--batch-size", "many"), 2)
    assert "--device" in one_line(medscan("fit", "archive", "--device", "quantum"), 2)
    assert sorted(tmp_path.iterdir()) == before


def test_a_backbone_that_is_not_here_is_one_line(medscan, pictures, tmp_path):
    done = medscan("fit", pictures, "--backbone", "ViT-B-32-quickgelu/openai", "--shots", 2)
    assert "medscan weights pull" in one_line(done, 2)
    assert not (tmp_path / "detector.safetensors").exists()


def test_a_wrong_detector_is_one_line(medscan, backbone_folder, tmp_path):
    tiny.write_series(tmp_path / "archive", tiny.head_volume(1))
    weights = backbone_folder / "open_clip_model.safetensors"
    done = medscan("scan", "archive", "--detector", weights)
    assert "not a detector file" in one_line(done, 2)
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04\x95evil")
    done = medscan("scan", "archive", "--detector", "pickle.safetensors")
    assert "not a detector file" in one_line(done, 2)


def test_an_empty_folder_exits_0_with_one_line(medscan, detector_file, tmp_path):
    (tmp_path / "archive").mkdir()
    done = medscan("scan", "archive", "--detector", detector_file)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("nothing to scan")
    assert len(done.stdout.splitlines()) == 1


def test_unreadable_files_exit_3(medscan, detector_file, tmp_path):
    folder = tiny.write_series(tmp_path / "archive", tiny.head_volume(1))
    broken = sorted(folder.iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:-300])
    done = medscan("scan", "archive", "--detector", detector_file)
    assert done.returncode == 3, done.stderr
    assert "1 failed" in done.stdout


def test_the_shipped_detector_and_backbone_are_found(medscan):
    listed = medscan("weights", "list")
    assert listed.returncode == 0, listed.stderr
    assert "backbone  medscan-mini" in listed.stdout
    assert "detector  brain-flair" in listed.stdout
    assert medscan("weights", "verify").returncode == 0
