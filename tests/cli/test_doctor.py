"""`medscan doctor`: what it says, that it is right, and what it does not touch."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from medscan import clip, decoding, detector
from medscan.inspect import doctor
from medscan.options import Outputs
from medscan.scanning import manifest

UNTOUCHED = """
import sys
def hook(event, _):
    if event.startswith("socket."):
        raise RuntimeError(event)
sys.addaudithook(hook)
from medscan.cli import app
app(["doctor", *sys.argv[1:]], standalone_mode=False)
assert "torch" not in sys.modules, "torch"
assert "open_clip" not in sys.modules, "open_clip"
"""


def test_it_opens_no_socket_and_leaves_nothing(environment, tmp_path):
    if any(os.path.lexists(path) for path in doctor.DRIVERS):
        pytest.skip("there is a GPU to ask torch about")
    done = subprocess.run(
        [sys.executable, "-c", UNTOUCHED, "--json"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["problems"] == []
    assert told["output"]["folder"] == str(tmp_path.resolve())
    assert told["output"]["writable"]
    assert told["output"]["free_bytes"] > 0
    assert told["versions"]["pydicom"] == version("pydicom")
    assert told["devices"][0]["name"] == "cpu"
    assert told["devices"][0]["memory_bytes"] > 1 << 30
    assert told["time"]["utc_offset"]
    assert list(tmp_path.iterdir()) == []


def test_weights_are_told_with_hash_and_licence():
    health = doctor.examine(Outputs(Path("results.h5")))
    mini = next(row for row in health.backbones if row["name"] == clip.DEFAULT)
    assert mini["hash"] == clip.find(clip.DEFAULT).digest()
    assert mini["licence"]
    flair = next(row for row in health.detectors if row["name"] == "brain-flair")
    assert flair["hash"] == detector.read(Path(flair["path"])).digest
    assert flair["backbone_hash"] == mini["hash"]
    assert "CC BY" in flair["licence"]
    assert flair["backbone_licence"] == mini["licence"]


def test_people_can_read_it(medscan):
    done = medscan("doctor", env={"TZ": "Europe/Berlin"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1] == "a scan can run"
    assert any(line.startswith("decodes   1.2.840.10008.1.2.4.90 ") for line in lines)
    assert any(line.startswith("time ") and line.endswith("Europe/Berlin") for line in lines)
    assert any(line.startswith("output ") and " writable " in line for line in lines)


def test_syntaxes_are_those_that_have_a_decoder():
    found = {syntax.uid: syntax for syntax in decoding.syntaxes()}
    packages = {uid: [d.package for d in s.decoders] for uid, s in found.items()}
    assert packages["1.2.840.10008.1.2"] == ["pydicom"]
    assert packages[RLELossless] == ["pylibjpeg-rle", "pydicom"]
    assert packages[JPEG2000Lossless][0] == "pylibjpeg-openjpeg"
    assert packages["1.2.840.10008.1.2.4.80"] == ["pyjpegls"]
    assert packages["1.2.840.10008.1.2.4.70"] == ["SimpleITK"]
    assert packages["1.2.840.10008.1.2.4.102"] == []
    for syntax in found.values():
        for decoder in syntax.decoders:
            assert decoder.version == version(decoder.package)


def test_a_package_that_is_not_here_decodes_nothing(monkeypatch):
    decoders = sys.modules["medscan.decoding.syntaxes"]

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(decoders, "version", missing)
    monkeypatch.setattr(decoders, "entry_points", lambda **_: ())
    assert not any(syntax.decoders for syntax in decoding.syntaxes())


def problem(medscan, *words, **env):
    done = medscan("doctor", *words, env=env)
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("medscan: a scan cannot run: ")
    assert "a scan can run" not in done.stdout
    return done.stderr


def test_an_output_that_cannot_be_written(medscan, tmp_path):
    assert "is not a folder" in problem(medscan, "--out", "nowhere/results.h5")
    (tmp_path / "results.h5").write_text("no results")
    assert "is not a results file of this medscan" in problem(medscan)
    assert "/proc" in problem(medscan, "--out", "/proc/results.h5")
    told = json.loads(medscan("doctor", "--out", "nowhere/r.h5", "--json").stdout)
    assert len(told["problems"]) == 1
    assert told["output"]["writable"] is False


def test_a_detector_without_its_backbone(medscan, detector_file, tmp_path):
    folder = tmp_path / "weights" / "detectors"
    folder.mkdir(parents=True)
    shutil.copy(detector_file, folder)
    weights = {"MEDSCAN_WEIGHTS": str(tmp_path / "weights")}
    assert medscan("doctor", env=weights).returncode == 0
    (folder / "broken.safetensors").write_bytes(b"\x80\x04\x95evil")
    assert "broken.safetensors is not a detector file" in problem(medscan, **weights)


def test_other_weights_than_the_detector_was_fitted_on(detector_file, tmp_path, monkeypatch):
    (tmp_path / "detectors").mkdir()
    shutil.copy(detector_file, tmp_path / "detectors")
    monkeypatch.setenv("MEDSCAN_WEIGHTS", str(tmp_path))
    read = detector.read
    monkeypatch.setattr(
        detector, "read", lambda path: _with_digest(read(path), "0" * 64, detector_file.stem)
    )
    (told,) = doctor.examine(Outputs(tmp_path / "results.h5")).problems
    assert "was fitted on backbone" in told
    assert "hash 000000000000" in told


def _with_digest(found, digest, name):
    from dataclasses import replace

    return replace(found, backbone_digest=digest) if found.name == name else found


def test_what_else_keeps_a_scan_from_running(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "shipped", list)
    monkeypatch.setattr(manifest, "LIBRARIES", ("torch", "no-such-library"))
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    problems = doctor.examine(Outputs(tmp_path / "results.h5")).problems
    assert [problem.split()[0] for problem in problems] == [
        "no-such-library",
        str(tmp_path),
        "there",
    ]
    assert "0 MiB free" in problems[1]


def test_a_damaged_backbone_that_nothing_needs_is_a_note(medscan, tmp_path):
    folder = tmp_path / "weights" / "stray"
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text("{")
    done = medscan("doctor", env={"MEDSCAN_WEIGHTS": str(tmp_path / "weights")})
    assert done.returncode == 0, done.stderr
    assert "note      backbone stray" in done.stdout


def test_gpus_are_told_where_a_driver_is(monkeypatch):
    import torch

    class Properties:
        name, total_memory = "A GPU", 8 << 30

    monkeypatch.setattr(doctor, "DRIVERS", ("/",))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4 << 30, 8 << 30))
    gpu = doctor.examine(Outputs(Path("results.h5"))).devices[1]
    assert gpu == {
        "name": "cuda:0",
        "model": "A GPU",
        "memory_bytes": 8 << 30,
        "free_bytes": 4 << 30,
        "batch_size": gpu["batch_size"],
    }
    assert gpu["batch_size"] >= 64

    def fails(_):
        raise RuntimeError("CUDA error: out of memory\nand more")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fails)
    health = doctor.examine(Outputs(Path("results.h5")))
    assert len(health.devices) == 1
    assert health.notes[0] == "cuda:0 cannot be used (CUDA error: out of memory)"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "sees no GPU" in doctor.examine(Outputs(Path("results.h5"))).notes[0]


def test_little_memory_means_small_batches(monkeypatch):
    health = doctor.examine(Outputs(Path("results.h5")))
    batch = health.devices[0]["batch_size"]
    assert batch & (batch - 1) == 0
    assert batch > 0
    monkeypatch.setattr(doctor, "_available", lambda _: 200 << 20)
    few = doctor.examine(Outputs(Path("results.h5")))
    assert 0 < few.devices[0]["batch_size"] <= 16
    monkeypatch.setattr(doctor, "_available", lambda _: 10 << 20)
    none = doctor.examine(Outputs(Path("results.h5")))
    assert none.devices[0]["batch_size"] == 0
    assert "cpu has too little free memory for one slice" in none.notes


def test_a_temporary_folder_that_cannot_be_written_is_a_note(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.tempfile, "gettempdir", lambda: "/proc")
    health = doctor.examine(Outputs(tmp_path / "results.h5"))
    assert health.temporary["writable"] is False
    assert "lossless JPEG" in health.notes[0]
    assert health.problems == []


def test_the_tower_is_told_by_the_weights(backbone_folder, tmp_path):
    from medscan.clip.store import find
    from medscan.scoring.memory import LARGEST, batch_for, tower_of

    bundle = find(f"local-dir:{backbone_folder}")
    tower = tower_of(bundle)
    assert (tower.tokens, tower.width) == (17, 32)
    assert abs(tower.weights / bundle.weights.stat().st_size - 1) < 0.1
    assert tower_of(bundle, 128).tokens == 68
    assert batch_for(tower.weights, tower) == 0
    assert batch_for(1 << 60, tower) == LARGEST
    assert batch_for(1 << 26, tower, 4) == batch_for(1 << 26, tower) // 4 > 0
