"""README's blocks run: commands line by line, losing nothing on the way, and the Python."""

import os
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest

from medscan import results
from tests import tiny

README = Path(__file__).parents[2] / "README.md"
NIGHT = Path("night.h5")


def commands():
    """The words of each command below `## Use`, without `medscan` and comments."""
    block = re.search(r"^## Use\n\n```sh\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)[1]
    lines = block.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    assert {line[0] for line in words} == {"medscan"}
    return [line[1:] for line in words]


@pytest.fixture
def archive(tmp_path):
    """Two brains that lie there for an hour."""
    for number in range(2):
        volume = tiny.head_volume(number, slices=3)
        tiny.write_series(tmp_path / "archive" / str(number), volume, study=f"1.2.{number}")
    for path in (tmp_path / "archive").rglob("*"):
        os.utime(path, (time.time() - 3600,) * 2)
    return tmp_path / "archive"


def brain_scores():
    """Scores and maps that the detector of the first line gave, by study."""
    found = {}
    for study in results.open(NIGHT).studies():
        for stack in (s for s in study.stacks if s.info["detector"] == "brain"):
            found[study.key] = (stack.score, stack.flagged, stack.heatmap.tobytes())
    return found


def test_the_block_runs_and_loses_nothing(inside, archive, backbone_folder):
    tiny.write_pictures(Path("data"), patients=16)
    quick = ["--backbone", f"local-dir:{backbone_folder}", "--folds", "2"]
    said, kept = [], []
    for words in commands():
        at = [str(archive) if word == "/archive" else word for word in words]
        if words[0] == "report" and "--decisions" in words:
            key = results.open(NIGHT).keys()[0]
            Path("decisions.csv").write_text(f"study,verdict\n{key},normal\n")
        code, out, err = inside(*at, *(quick if words[0] == "fit" else []))
        assert code == 0, (words, err)
        said.append(out)
        if NIGHT.exists():
            kept.append(brain_scores())
    assert len(kept[0]) == 2
    assert all(scores == kept[0] for scores in kept)
    (last,) = [out for words, out in zip(commands(), said, strict=True) if "--settle" in words]
    assert "scores kept: 2 of brain (since " in last
    for stem in ("night.csv", "night.html", "files.csv", "night.report/index.html"):
        assert Path(stem).stat().st_size
    assert Path("brain-2.safetensors").stat().st_size
    assert list(Path("maps").glob("*_map.nii.gz"))
    assert list(Path("objects").iterdir())


def test_the_python_runs(archive, detector_file, tmp_path, monkeypatch, capfd):
    (block,) = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    shutil.copy(detector_file, tmp_path / "brain.safetensors")
    monkeypatch.chdir(tmp_path)
    text = block.replace("/archive/study/series", str(archive / "0"))
    exec(text.replace('"/archive"', repr(str(archive))), {})  # noqa: S102
    said = capfd.readouterr()
    first, second, *studies = said.out.splitlines()
    assert re.fullmatch(r"-?[0-9.]+ (True|False) \(3, 48, 48\)", first)
    assert second.startswith("2 studies scanned (6 slices")
    assert [line.split()[0] for line in studies] == ["1", "2"]
    assert said.err == ""
