"""`medscan evaluate` as a user runs it."""

import csv
import json

import pytest

from medscan.fitting import FitOptions, fit
from tests import processes, tiny


@pytest.fixture
def medscan(environment, tmp_path):
    def run(*words):
        return processes.command(["evaluate", *words], environment | {"COLUMNS": "80"}, tmp_path)

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_pictures(tmp_path_factory.mktemp("sets") / "x[red]y", 3, 2, tests=3)


@pytest.fixture(scope="module")
def detector(data, backbone_folder, tmp_path_factory):
    options = FitOptions(
        shots=3, method="patchcore", backbone=f"local-dir:{backbone_folder}", folds=2
    )
    fitted, method = fit(data, options)
    path = tmp_path_factory.mktemp("file") / "a[bold]b:smile:.safetensors"
    fitted.save(path, method)
    return path


def one_line(done, code=2):
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("medscan: ")
    return done.stderr


def test_a_detector_on_labelled_data(medscan, detector, data, tmp_path):
    words = ("--draws", 50, "--json", "all.json", "--csv", "scores.csv", "--plots", "plots")
    words += ("--plot-format", "png", "--tables", "tables", "--by", "split,ViewPosition")
    done = medscan(detector, data, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "a[bold]b:smile: (patchcore) on x[red]y, test, clean"
    assert max(map(len, lines)) <= 80
    head = next(line for line in lines if "slices" in line)
    assert head.split() == ["slices", "studies", "pixels"]
    facts = json.loads((tmp_path / "all.json").read_text())
    row = next(line for line in lines if line.startswith("AUROC")).split()
    for place, level in enumerate(("slices", "studies", "pixels")):
        assert row[1 + 2 * place] == f"{facts[level]['auroc']['value']:.3f}"
    assert facts["asked"]["data"] == "x[red]y"
    with (tmp_path / "scores.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 12
    assert {p.name for p in (tmp_path / "plots").iterdir()} >= {"roc.png", "scores.png"}
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {"figures.csv", "strata.csv"}
    start = lines.index("by split")
    assert lines[start + 3].split()[:5] == ["test", "6", "of", "12", "6"]
    assert "(not stated)" in done.stdout
    assert facts["strata"][0]["variable"] == "split"


def test_two_detectors_on_the_same_slices(medscan, detector, data, tmp_path):
    words = ("--draws", 20, "--json", "new/all.json", "--csv", "new/scores.csv")
    done = medscan(data, "--detector", detector, "--detector", detector, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "a[bold]b:smile: (1) minus a[bold]b:smile: (2)" in [line.strip() for line in lines]
    assert "6 of 6 patients have several images" in lines[-1]
    facts = json.loads((tmp_path / "new" / "all.json").read_text())
    assert [d["detector"]["method"] for d in facts["detectors"]] == ["patchcore"] * 2
    [pair] = facts["pairs"]
    assert pair["first"] == "a[bold]b:smile: (1)"
    assert {d["value"]["high"] for d in pair["differences"]} == {0}
    with (tmp_path / "new" / "scores.csv").open(newline="") as stream:
        [head, *rows] = csv.reader(stream)
    assert head == ["name", "label", "a[bold]b:smile: (1)", "a[bold]b:smile: (2)"]
    assert len(rows) == 12


def test_one_class_only_is_dashes_and_one_line(medscan, detector, tmp_path):
    data = tiny.write_pictures(tmp_path / "one", 8)
    shots = [f"normal_p{n}_0" for n in range(6)]  # the detector's have such names
    tiny.remove(data, "abnormal", *shots)
    words = ("--split", "rest", "--protocol", "paper", "--json", "all.json", "--plots", ".")
    done = medscan(detector, data, *words)
    assert "one kind only" in one_line(done)
    assert "0 of 2" in done.stdout
    assert "AUROC" not in done.stdout
    assert json.loads((tmp_path / "all.json").read_text())["slices"]["auroc"]["value"] is None


def test_mistakes_are_one_line_and_write_nothing(medscan, detector, data, tmp_path):
    assert "name a detector" in one_line(medscan())
    assert "--json" in one_line(medscan(detector, data, "--json", "."))
    assert "--csv" in one_line(medscan(detector, data, "--csv", "."))
    assert "--plots" in one_line(medscan(detector, data, "--plots", detector))
    assert "name a detector" in one_line(medscan(data))
    assert "did you mean Sex" in one_line(medscan(detector, data, "--by", "Sexe"))
    assert "choose test or rest" in one_line(medscan(detector, data, "--split", "all"))
    assert "--shard goes only with --suite" in one_line(medscan(detector, data, "--shard", "1/2"))
    assert "--json goes not with" in one_line(
        medscan("--suite", "bmad", "--json", "x", "--out", "y")
    )
    assert "needs --out" in one_line(medscan("--suite", "bmad"))
    assert "--out" in one_line(medscan("--suite", "bmad", "--out", detector))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shard", ["0/2", "3/2", "²/3", "1", "a/b", "-1/2"])
def test_shards_are_checked(shard):
    from medscan.choices import Shard
    from medscan.cli import options
    from medscan.errors import UsageError

    with pytest.raises(UsageError, match="from 1 to N"):
        options.shard(shard)
    assert options.shard("2/3") == Shard(2, 3)


def test_a_suite(medscan, data, backbone_folder, tmp_path):
    (tmp_path / "suite.toml").write_text(
        'methods = ["patchcore", "clip"]\nshots = [2]\nseeds = [0, 1]\n'
        f'backbone = "local-dir:{backbone_folder}"\n'
        f'[[data]]\nname = "b[red]c[bold]"\npath = "{data.name}"\norgan = "Brain"\ntrivial = 0.6\n'
        '[[published]]\ndata = "b[red]c[bold]"\nmethod = "clip"\nshots = 2\naupro = 87.5\n'
    )
    words = ("--suite", "suite.toml", "--root", data.parent, "--out", "cells")
    part = medscan(*words, "--shard", "1/2")
    assert part.returncode == 0, part.stderr
    assert "without --shard table.csv is made" in part.stdout
    assert not (tmp_path / "cells" / "table.csv").exists()
    done = medscan(*words)
    assert done.returncode == 0, done.stderr
    assert len(part.stderr.splitlines()) == len(done.stderr.splitlines()) == 2
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "b[red]c[bold]"
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[3:7]] == ["trivial", "patchcore", "clip", "published"]
    assert lines[6].split() == ["published", "2", *"----", "0.875"]
    assert "2 shots, mean over 1 data sets, 95 % by patient" in [line.strip() for line in lines]
    assert lines[-1] == "4 cells, table.csv and differences.csv in cells"
    with (tmp_path / "cells" / "differences.csv").open(newline="") as stream:
        [gap] = csv.DictReader(stream)
    assert (gap["first"], gap["second"]) == ("patchcore", "clip")
    with (tmp_path / "cells" / "table.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 4
    assert medscan(*words).stdout == done.stdout


def test_a_suite_of_one_class_only_is_told(medscan, backbone_folder, tmp_path):
    data = tiny.write_pictures(tmp_path / "one", 3)
    tiny.remove(data, "abnormal")
    cases = (data / "cases.csv").read_text().replace("normal2,train", "normal2,test")
    (data / "cases.csv").write_text(cases)
    (tmp_path / "suite.toml").write_text(
        'methods = ["patchcore"]\nshots = [2]\nseeds = [0]\n'
        f'backbone = "local-dir:{backbone_folder}"\n'
        '[[data]]\nname = "a"\npath = "one"\norgan = "Brain"\n'
    )
    done = medscan("--suite", "suite.toml", "--out", "cells")
    assert done.returncode == 0, done.stderr
    assert "a-patchcore-k2-s0: image AUROC -; fit" in done.stderr
