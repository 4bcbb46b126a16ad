"""Completion in real shells: what the Tab key gives once a shell has read the script."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from medscan.cli.fit import METHODS

CASES = [
    ("medscan ledger r", ["retry"]),
    ("medscan scan --ord", ["--order"]),
    ("medscan scan --order ", ["newest", "oldest", "path"]),
    ("medscan scan --settle never --order n", ["newest"]),  # a wrong value does not hinder
    ("medscan fit --method m", ["madclip", "medvmad", "mvfa"]),
    ("medscan export --to dicom-s", ["dicom-sc", "dicom-seg", "dicom-sr"]),
]

START = {
    "bash": ("bash", "--norc", "-i"),
    "zsh": ("zsh", "-f", "-i"),
}
"""Interactive shells that read no file of the user."""

SETUP = {
    "bash": "PS1='>'; bind 'set show-all-if-ambiguous on'; . ./script; echo REA''DY\n",
    "zsh": "PS1='>'; autoload -Uz compinit; compinit -u -D; . ./script; echo REA''DY\n",
}


@pytest.fixture
def home(environment, tmp_path):
    """A folder with a command `medscan`, and the environment that finds it."""
    command = tmp_path / "bin" / "medscan"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m medscan "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{environment['PATH']}"
    return tmp_path, environment | {"PATH": path, "TERM": "dumb", "HOME": str(tmp_path)}


def needs(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} to see what it completes")


def script_of(shell, home):
    folder, environment = home
    done = subprocess.run(
        ["medscan", "--show-completion", shell],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    (folder / "script").write_text(done.stdout)


def read_until(terminal, words, seconds=60.0):
    """What a terminal shows until all words are there, or time is up."""
    shown, end = "", time.monotonic() + seconds
    while not all(word in shown for word in words) and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096).decode()
    return shown


@contextmanager
def interactive(shell, home):
    """A terminal in which a shell has read its script."""
    folder, environment = home
    terminal, end = pty.openpty()
    streams = {"stdin": end, "stdout": end, "stderr": end}
    process = subprocess.Popen(
        START[shell], **streams, cwd=folder, env=environment, start_new_session=True
    )
    os.close(end)
    try:
        os.write(terminal, SETUP[shell].encode())
        assert "READY" in read_until(terminal, ["READY"])
        yield terminal
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(terminal)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes(shell, home):
    needs(shell)
    script_of(shell, home)
    with interactive(shell, home) as terminal:
        for line, expected in CASES:
            # A single match is put into the line, with a space after it; several are listed.
            one = f"{line.rpartition(' ')[0]} {expected[0]} "
            wanted = expected if len(expected) > 1 else [one]
            os.write(terminal, f"{line}\t".encode())
            shown = read_until(terminal, wanted)
            assert all(word in shown for word in wanted), shown
            os.write(terminal, b"\x15echo NE''XT\n")  # Ctrl-U drops the line
            assert "NEXT" in read_until(terminal, ["NEXT"])


def test_fish_completes(home):
    needs("fish")
    script_of("fish", home)
    folder, environment = home
    loop = 'source script; for line in $argv; complete -C "$line"; echo; end'
    done = subprocess.run(
        ["fish", "--no-config", "-c", loop, *(line for line, _ in CASES)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    blocks = done.stdout.split("\n\n")
    rows = [[row.partition("\t")[0] for row in block.splitlines()] for block in blocks]
    assert [sorted(words) for words in rows if words] == [expected for _, expected in CASES]


def test_the_methods_are_those_that_there_are():
    from medscan.methods.registry import METHODS as SYSTEMS

    assert sorted(METHODS) == sorted(SYSTEMS)


def test_a_shell_that_is_not_supported_is_refused(medscan):
    done = medscan("--show-completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "zsh" in done.stderr
