import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Annotated

import h5py
import pytest
import typer
import yaml

from man import fill
from medscan import errors
from medscan.archive import REASONS
from medscan.cli import app
from medscan.cli.examples import EXAMPLES
from medscan.cli.options import SIGNAL_EXITS
from medscan.report import TABLES
from tests.report import make

RESULTS = "medscan-results.5"
MAN = Path(__file__).parents[1] / "man"
PAGES = {path.name: path.read_text("utf-8") for path in MAN.glob("medscan*.[1357]")}


def tree():
    return typer.main.get_command(app)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_blocks_are_those_that_the_command_tree_gives(name):
    made = fill.fill(PAGES[name], fill.context_of(name, tree()))
    assert made == PAGES[name], "run: python man/fill.py"


def test_every_command_has_a_page_with_its_blocks():
    for name in ("medscan", *(f"medscan-{command}" for command in tree().commands)):
        kinds = {match[1] for match in fill.BLOCK.findall(PAGES[f"{name}.1"])}
        assert {"synopsis", "exits"} <= kinds
        assert kinds & {"options", "commands"}


def test_every_page_is_installed():
    project = tomllib.loads((MAN.parent / "pyproject.toml").read_text("utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {f"man/{name}": f"share/man/man{name[-1]}/{name}" for name in PAGES}


def test_every_command_and_option_is_there():
    for name, command in tree().commands.items():
        text = PAGES[f"medscan-{name}.1"]
        inner = [command, *getattr(command, "commands", {}).values()]
        for param in (p for c in inner for p in c.params if p.opts[0].startswith("-")):
            assert f".It Fl {param.opts[0][1:]}" in text
            assert param.help, f"{name} {param.opts[0]} has no help"


def test_every_exit_status_is_described():
    described = set(errors.EXIT_STATUSES)
    raised = {e.exit_code for e in vars(errors).values() if isinstance(e, type)}
    assert raised | set(SIGNAL_EXITS.values()) <= described


def commands_in(text):
    """The lines of a page, or of examples, that run medscan: words up to the end of the command."""
    text = text.replace("\\e\n", "")
    lines = re.findall(
        r"^(?:\.Dl |[A-Z_]+=\S+ |[\d* ]{9,}\S+/|\S+=/\S+/)?medscan (\S.*)$", text, re.M
    )
    for line in lines:
        command, *_ = re.split(r" [|&]| >| && ", line)
        yield shlex.split(command, comments=True)


@pytest.mark.parametrize("name", [*sorted(PAGES), "help"])
def test_every_example_is_a_command(name, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: True)  # --archive must exist
    for words in commands_in(PAGES.get(name, EXAMPLES)):
        command = tree()
        while hasattr(command, "commands") and not words[0].startswith("-"):
            command = command.commands[words.pop(0)]
        if not hasattr(command, "commands"):
            command.make_context("medscan", words)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc to check the pages")
def test_mandoc_finds_nothing():
    done = subprocess.run(
        ["mandoc", "-T", "lint", *sorted(PAGES)],
        cwd=MAN,
        capture_output=True,
        text=True,
        check=False,
    )
    # Other packages' pages need not be installed here.
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if not re.search("crontab|systemd", line)] == []


def test_no_quote_is_lost():
    """A quote begins or ends an argument of a macro, and is not shown; any other is `\\(dq`."""
    whole = re.compile(r'(?<= )"(?:[^"]|"")*"(?= |$)')
    macros = {line for page in PAGES.values() for line in re.findall(r'^\.[A-Z].*".*$', page, re.M)}
    assert [line for line in macros if '"' in whole.sub("", line)] == []


def test_results_page_says_what_every_name_in_the_file_is(tmp_path):
    text = PAGES[RESULTS]
    # Names after macros that name things; `Va a , b` names two.
    told = set(re.findall(r"\w+", " ".join(re.findall(r"^\.(?:It )?Va (.*)$", text, re.M))))
    stack = make.stack("s1", description="", n=3)
    results = make.results(
        tmp_path,
        [make.study("aaa", [stack], patient_id="1", accession_number="2", age="3", sex="4")],
    )
    with h5py.File(results.path) as file:
        study = file["studies/aaa"]
        names = [*file.attrs, *study.attrs, *study["s1"].attrs, *study["s1"]]
        names += [*file["failures"], *file["skipped"], *make.DETECTOR]
    assert set(names) - told == set()
    for heading in ("/studies/STUDY", "/studies/STUDY/STACK", "/failures", "/skipped"):
        assert f".Ss {heading}\n" in text


def test_results_page_lists_every_reason():
    for reason, (bucket, _) in REASONS.items():
        assert f".It Cm {reason} Pq {bucket}\n" in PAGES[RESULTS]


@pytest.mark.parametrize("table", sorted(TABLES))
def test_results_page_lists_every_column(table):
    _, _, rest = PAGES[RESULTS].partition(f"columns {table}: generated")
    block, _, _ = rest.partition("end of columns")
    assert re.findall(r"^\.It Va (.*)$", block, re.M) == list(TABLES[table].columns)


def test_the_cluster_page_shows_a_job_that_kubernetes_can_read():
    text = PAGES["medscan-cluster.7"]
    (shown,) = re.findall(r"^(apiVersion: .*?)^\.Ed$", text, re.M | re.S)
    spec = yaml.safe_load(shown)["spec"]
    head, (workers,) = (spec["rayClusterSpec"][k] for k in ("headGroupSpec", "workerGroupSpecs"))
    for group in (head, workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    words = shlex.split(shlex.split(spec["entrypoint"])[2].partition(" || ")[0])
    options = [word[2:] for word in words if word.startswith("--")]
    known = {name[2:] for p in tree().commands["scan"].params for name in p.opts}
    assert set(options) <= known
    # As many cores as a scanner takes: one beside those that decode.
    needed = 1 + int(words[words.index("--workers") + 1])
    assert int(container["resources"]["limits"]["cpu"]) >= needed


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash to check a script")
def test_the_cluster_page_shows_a_script_that_bash_can_read():
    text = PAGES["medscan-cluster.7"]
    (shown,) = re.findall(r"^(#!/bin/bash\n.*?)^\.Ed$", text, re.M | re.S)
    script = shown.replace("\\e\n", "\\\n")
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_any_command_tree_is_described():
    tiny = typer.Typer(name="tiny", add_completion=False)

    @tiny.command()
    def go(
        where: Annotated[list[Path], typer.Argument(help=".dotted start. Next sentence.")],
        depth: Annotated[int, typer.Option(help="How deep; a \\ in it.")] = 3,
        fast: Annotated[bool, typer.Option(help="Be quick.")] = True,
        must: Annotated[str, typer.Option(help="See --depth.", metavar="WORD")] = ...,
        secret: Annotated[bool, typer.Option(hidden=True)] = False,
    ) -> None:
        """Go there. And back."""

    @tiny.command()
    def stay() -> None:
        """Stay."""

    context = fill.context_of("tiny-go.1", typer.main.get_command(tiny))
    blocks = (f'.\\" {kind}: generated\n.\\" end of {kind}\n' for kind in ("synopsis", "options"))
    text = fill.fill("".join(blocks), context)
    assert fill.fill(text, context) == text
    assert ".Nm tiny go\n.Op Fl -depth Ar depth\n" in text
    assert "\n.Fl -must Ar WORD\n.Ar where ...\n" in text
    assert ".It Fl -depth Ar depth\nHow deep; a \\e in it.\nDefault: 3.\n" in text
    assert ".It Fl -fast | Fl -no-fast\nBe quick.\nDefault: \\-\\-fast.\n" in text
    assert "\n\\&.dotted start.\nNext sentence.\n" in text
    assert "See \\-\\-depth." in text
    assert "secret" not in text
