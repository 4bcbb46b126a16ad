"""README's block of commands runs line by line, loses nothing on the way, and ends as it says."""

import os
import re
import shlex
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
    quick = ["--backbone", f"local-dir:{backbone_folder}", "--set", "epochs=1", "--folds", "2"]
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
