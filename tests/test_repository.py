"""Rules of the house that are easy to break without noticing."""

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "medscan").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_finished(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError", text)
    assert len(path.relative_to(ROOT / "medscan").parts) <= 2


def test_readme_gives_the_commands_that_ci_runs():
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    assert commands[0].startswith("pip install . && medscan demo")
    assert re.fullmatch(r"pip install .*pytest\n", commands[1])
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_card_has_the_hash_of_every_file_of_weights():
    card = (ROOT / "weights" / "README.md").read_text()
    files = sorted((ROOT / "weights").rglob("*.safetensors"))
    assert len(files) == 4
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card, path


def test_the_changelog_knows_the_version():
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_what_the_contributors_guide_names_is_there():
    """Paths as they are; those with a word in capitals stand for files to be made."""
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:medscan|tests|man|weights|\.ci)/[^`\s]*)`", guide))
    named |= set(re.findall(r"(?:python|pytest) ((?:man|tests)/[\w/.]+\w)", guide))
    made = {path for path in named if re.search(r"[A-Z]{4,}", path)}
    assert len(named - made) > 25
    assert [path for path in sorted(named - made) if not (ROOT / path).exists()] == []
    symbols = re.findall(r"`([A-Z]\w+|[A-Z_]{4,}|ScanOptions\.identity)`", guide)
    code = "\n".join(path.read_text() for path in SOURCES)
    names = {s.split(".")[-1] for s in symbols} - {"NAME", "MODULE"}
    assert {"METHODS", "FORMATS", "REASONS", "Settings", "Header"} <= names
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", code)] == []
