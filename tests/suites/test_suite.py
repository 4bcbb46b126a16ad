import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from medscan.errors import DiskError, UsageError
from medscan.suites import cells_of, find_suite, read_suite, rows_of, run_suite
from medscan.suites import run as room
from medscan.suites.declare import sources_of
from tests import tiny

FIVE = Path(__file__).parents[1] / "benchmarks" / "five_sets.toml"
ONE = 'methods = ["clip"]\n'
DATA = '[[data]]\nname = "a"\npath = "x"\norgan = "Brain"\n'
OTHER = DATA.replace('"a"', '"b"').replace('"x"', '"y"')


@pytest.fixture
def read(tmp_path):
    def made(text, root=None):
        (tmp_path / "suite.toml").write_text(text)
        return read_suite(tmp_path / "suite.toml", root)

    return made


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two data sets of a few small pictures."""
    root = tmp_path_factory.mktemp("sets")
    for name in "xy":
        tiny.write_pictures(root / name, 3, tests=2)
    return root


@pytest.fixture
def suite(read, sets, backbone_folder):
    text = f'methods = ["patchcore", "clip"]\nshots = [2, 0]\nseeds = [0, 1]\n{DATA}{OTHER}'
    declared = read(text, sets)
    return replace(declared, backbone=f"local-dir:{backbone_folder}")


# --- what is declared ---------------------------------------------------------------------------


def test_defaults_and_root(read, tmp_path):
    found = read(ONE + DATA)
    assert (found.shots, found.seeds, found.protocol) == ((16,), (0, 1, 2), "clean")
    assert found.data[0].path == tmp_path / "x"
    assert read(ONE + DATA, tmp_path / "root").data[0].path == tmp_path / "root" / "x"
    assert len(cells_of(found)) == 3
    assert read(ONE + "baselines = []\n" + DATA) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods = [", "cannot be read"),
        ("a = " + "[" * 5000, "cannot be read"),
        (DATA, "lacks methods"),
        (ONE, "lacks data"),
        (ONE + DATA.replace('organ = "Brain"', ""), "data set 1 lacks organ"),
        (ONE + DATA.replace('name = "a"', ""), "data set 1 lacks name"),
        ('methods = "clip"\n' + DATA, "methods = 'clip' is not a list of different strings"),
        (ONE + 'baselines = ["mean"]\n' + DATA, "baseline 'mean': choose from raw-pixels"),
        (ONE + "shots = []\n" + DATA, "shots = \\[\\] is not a list of different integers"),
        ("methods = []\n" + DATA, "is not a list of different strings"),
        ('methods = ["clip", "clip"]\n' + DATA, "is not a list of different strings"),
        ('methods = ["winclip"]\n' + DATA, "winclip: choose one of"),
        (ONE + 'shots = "x"\n' + DATA, "shots = 'x' is not a list of different integers"),
        (ONE + "shots = [true]\n" + DATA, "shots"),
        (ONE + "shots = [1.5]\n" + DATA, "shots"),
        (ONE + "shots = [-1]\n" + DATA, "shots"),
        (ONE + "shots = [4, 4]\n" + DATA, "shots"),
        (ONE + "seeds = [[0]]\n" + DATA, "seeds"),
        (ONE + f"seeds = [{2**70}]\n" + DATA, "seeds"),
        (ONE + "draws = -1\n" + DATA, "draws"),
        (ONE + "folds = nan\n" + DATA, "folds"),
        (ONE + 'colour = "red"\n' + DATA, "unknown key 'colour'"),
        (ONE + '"\\u001b[31m" = 1\n' + DATA, r"unknown key '\\x1b\[31m'"),
        (ONE + DATA + "shots = 3\n", "data set 1 has an unknown key 'shots'"),
        (ONE + 'protocol = "dirty"\n' + DATA, "choose clean or paper"),
        (ONE + "backbone = 3\n" + DATA, "backbone"),
        (ONE + "data = 3\n", "data = 3 is not a list of tables"),
        (ONE + 'data = ["x"]\n', "is not a list of tables"),
        (ONE + "data = []\n", "no cell"),
        (ONE + DATA.replace('"x"', "3"), "path = 3 is not a string"),
        (ONE + DATA.replace('"x"', '"a\\u0000b"'), "path"),
        (ONE + DATA.replace('"x"', '"~nobody-of-that-name/x"'), "home"),
        (ONE + DATA + DATA, "names of data sets must differ"),
        (ONE + DATA + DATA.replace('"a"', '"A"'), "names of data sets must differ"),
        (ONE + DATA.replace('"a"', '"../a"'), "cannot be part of a file's name"),
        (ONE + DATA.replace('"a"', '"a\\\\b"'), "cannot be part of a file's name"),
        (ONE + DATA.replace('"a"', '".a"'), "cannot be part of a file's name"),
        (ONE + DATA.replace('"a"', '""'), "cannot be part of a file's name"),
        (ONE + DATA.replace('"a"', '" a"'), "cannot be part of a file's name"),
        (ONE + DATA.replace('"a"', '"a\\u001b[31m"'), "cannot be part of a file's name"),
        (ONE + DATA.replace('"a"', f'"{"a" * 300}"'), "cannot be part of a file's name"),
        (ONE + DATA + 'plane = "oblique"\n', "not one of axial"),
        (ONE + DATA + 'window = "wide"\n', "window rule"),
        (ONE + DATA + "trivial = true\n", "trivial = True is not a number"),
        (ONE + DATA + "trivial = 58\n", "fraction from 0 to 1, not percent"),
        (ONE + DATA + "[settings]\nclip = 3\n", "settings of clip"),
        (ONE + DATA + "[settings.clip]\nepoch = 3\n", "no setting epoch"),
        (ONE + DATA + "[settings.clip]\nprotocol = 3\n", "no setting protocol"),
        ('select = "test"\n' + ONE + DATA, "test with protocol paper"),
        (ONE + DATA + "[settings.klip]\nepochs = 3\n", "klip: choose one of"),
        (ONE + DATA + "[[published]]\nshots = 4\n", "published figures 1 lacks method"),
        (
            ONE + DATA + '[[published]]\nshots = 4\nmethod = "clip"\ndata = "q"\n',
            "no data set is named 'q'",
        ),
        (
            ONE + DATA + '[[published]]\nshots = 4\nmethod = "clip"\ndata = "a"\naupro = 912\n',
            "aupro = 912 is not",
        ),
        ('methods = ["madclip"]\nshots = [0]\n' + DATA, "methods without a zero-shot form"),
        ('methods = ["mvfa"]\nshots = [0]\n' + DATA, "needs a data set other than a"),
    ],
)
def test_mistakes_are_one_clear_line(read, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        read(text)
    assert str(caught.value).startswith("suite ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_a_suite_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_suite(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_suite(tmp_path)


def test_no_shots_leave_the_data_set_and_its_group_out(read):
    same = DATA.replace('"a"', '"d"').replace('"x"', '"./x"')
    text = 'methods = ["mvfa", "madclip", "clip"]\nshots = [0, 1]\nseeds = [0]\n'
    text += (
        DATA
        + 'group = "g"\n'
        + OTHER
        + 'group = "g"\n'
        + OTHER.replace('"b"', '"c"').replace('"y"', '"z"')
    )
    found = read(text + same)
    cells = {(c.data.name, c.method, c.shots): c for c in cells_of(found)}
    assert ("a", "madclip", 0) not in cells
    assert ("a", "madclip", 1) in cells

    def names(*key):
        return [d.name for d in sources_of(found, cells[key])]

    assert names("a", "mvfa", 0) == ["c"]  # b is of its group, d the same folder
    assert names("c", "mvfa", 0) == ["a", "b", "d"]
    assert names("a", "clip", 0) == names("a", "mvfa", 1) == []


def test_the_shipped_suite_is_whole():
    path = find_suite("bmad")
    suite = read_suite(path, Path("/data"))
    assert len(suite.data) == 6
    assert len({d.path for d in suite.data}) == 6
    cells = {(c.data.name, c.method, c.shots) for c in cells_of(suite)}
    for entry in suite.published:
        assert (entry["data"], entry["method"], entry["shots"]) in cells
        assert entry["source"]
        assert any(name in entry for name in ("image_auroc", "pixel_auroc"))
    keys = [(e["data"], e["method"], e["shots"]) for e in suite.published]
    assert len(set(keys)) == len(keys)
    assert find_suite("../bmad") == Path("../bmad")
    assert path.parent.name == "suites"
    assert path.parent.parent.name == "medscan"


def test_the_suite_of_small_sets_can_be_read():
    suite = read_suite(FIVE, Path("/data"))
    assert len(suite.data) == 6
    assert all(d.trivial for d in suite.data)
    assert set(suite.shots) == {4, 16}
    assert len(suite.seeds) == 3


# --- what is measured ---------------------------------------------------------------------------


def test_a_stopped_suite_goes_on_where_it_was(suite, tmp_path, monkeypatch):
    out, told = tmp_path / "out", []
    run = run_suite(suite, out, on_record=lambda cell, _: told.append(cell.name))
    for _ in range(3):
        next(run)
    run.close()
    assert len(list(out.iterdir())) == 3
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    records = list(run_suite(suite, out, on_record=lambda cell, _: told.append(cell.name)))
    assert told == [c.name for c in cells_of(suite)]
    assert len(records) == 12
    assert {p.name for p in out.iterdir()} == {f"{name}.json" for name in told}
    assert all((out / name).read_bytes() == data for name, data in first.items())
    rows = rows_of(suite, records)
    assert [(r.data, r.method, r.shots, r.draws) for r in rows] == [
        (data, *rest, 2) for data in "ab" for rest in (("patchcore", 2), ("clip", 2), ("clip", 0))
    ]
    monkeypatch.setattr(room, "fit", None)  # nothing is fitted any more
    assert list(run_suite(suite, out)) == records
    by_name = {(r["cell"]["data"]["name"], r["cell"]["method"]): r for r in records}
    assert by_name["a", "patchcore"]["slices"]["auroc"]["value"] is not None

    # The parts of several processes are disjoint and are the whole.
    parts = [list(run_suite(suite, out, shard=(n, 5))) for n in range(1, 6)]
    names = [json.dumps(r["cell"], sort_keys=True) for part in parts for r in part]
    assert len(names) == len(set(names)) == 12
    assert list(run_suite(suite, out, shard=(13, 13))) == []


@pytest.fixture
def single(suite):
    return replace(suite, methods=("clip",), shots=(2,), seeds=(0,), data=suite.data[:1])


@pytest.fixture
def measured(single, tmp_path):
    """How many cells a suite still measures in one folder."""

    def count(declared):
        told = []
        list(run_suite(declared, tmp_path / "out", on_record=lambda cell, _: told.append(cell)))
        return len(told)

    assert count(single) == 1
    return count


def test_another_declaration_is_measured_again(single, measured):
    assert measured(single) == 0
    assert measured(replace(single, draws=3)) == 1
    assert measured(replace(single, draws=3)) == 0
    liver = replace(single.data[0], organ="Liver")
    assert measured(replace(single, data=(liver,))) == 1
    # What only stands beside the figures is no reason to.
    beside = replace(liver, trivial=0.7, group="g")
    published = ({"data": "a", "method": "clip", "shots": 2, "aupro": 3},)
    assert measured(replace(single, data=(beside,), published=published)) == 0


def test_a_corrupt_cell_is_measured_again(single, measured, tmp_path, monkeypatch):
    path = tmp_path / "out" / f"{cells_of(single)[0].name}.json"
    known = json.loads(path.read_text())
    path.write_text("{")
    assert measured(single) == 1
    assert json.loads(path.read_text())["slices"] == known["slices"]
    figures = {name: known[name] for name in known if name != "cell"}
    monkeypatch.setattr(room, "_measure_cell", lambda *_: figures)
    torn = ["", "[]", "3", "null", "{}", "\udcff", "[" * 9000, json.dumps({"cell": known["cell"]})]
    for text in torn:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        assert measured(single) == 1, text
    assert json.loads(path.read_text()) == known


def test_a_cell_is_whole_or_not_there(single, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskError, match="No space left"):
        list(run_suite(single, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_in_a_training_stops_the_suite(single, tmp_path, monkeypatch):
    """Fitting keeps the best epoch so far; a suite must not take it for the method."""
    fit = room.fit

    def interrupted(folders, options, progress, judge):
        def pressed(moment):
            progress(moment)
            if (moment.doing, moment.step) == ("training", 2):
                raise KeyboardInterrupt

        return fit(folders, options, pressed, judge)

    monkeypatch.setattr(room, "fit", interrupted)
    trained = replace(single, methods=("mvfa",), settings={"mvfa": {"epochs": 3}})
    with pytest.raises(KeyboardInterrupt):
        list(run_suite(trained, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_cell_that_cannot_be_measured_is_named(single, tmp_path):
    many = replace(single, methods=("patchcore",), shots=(9,))
    with pytest.raises(UsageError, match="a-patchcore-k9-s0: 9 normal shots were asked for"):
        list(run_suite(many, tmp_path / "out"))


def test_missing_data_is_said_before_anything_is_measured(suite, tmp_path):
    gone = replace(suite.data[1], path=tmp_path / "gone")
    with pytest.raises(UsageError, match=r"data set b: .*gone does not exist"):
        next(run_suite(replace(suite, data=(suite.data[0], gone)), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(single, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="could not be made"):
        list(run_suite(single, tmp_path / "file" / "out"))


def test_test_slices_are_read_once_unless_they_are_many(single, tmp_path, monkeypatch):
    read = []
    slices_of = room.slices_of

    def counted(*words):
        read.append(1)
        return slices_of(*words)

    monkeypatch.setattr(room, "slices_of", counted)
    many = replace(single, seeds=(0, 1, 2))
    kept = list(run_suite(many, tmp_path / "kept"))
    assert len(read) == 1
    monkeypatch.setattr(room, "CACHE_BYTES", 100)
    again = list(run_suite(many, tmp_path / "read"))
    assert len(read) == 4
    assert [r["slices"] for r in again] == [r["slices"] for r in kept]


def test_a_suite_learns_zero_shot_from_the_others(suite, tmp_path):
    learning = replace(
        suite, methods=("mvfa",), shots=(0,), seeds=(0,), settings={"mvfa": {"epochs": 1}}
    )
    records = list(run_suite(learning, tmp_path / "out"))
    assert [[s["name"] for s in r["cell"]["sources"]] for r in records] == [["b"], ["a"]]
    assert all(r["pixels"]["aupro"]["value"] is not None for r in records)


def test_the_shipped_suite_is_toml_that_others_can_read():
    assert tomllib.loads(find_suite("bmad").read_text(encoding="utf-8"))["data"][0]["name"] == "HIS"
