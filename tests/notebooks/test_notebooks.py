"""The notebooks run from top to bottom, show what they say, and are kept without outputs."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent
EXECUTE = [sys.executable, "-c", "from nbclient.cli import main; main()", "--timeout=240"]
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


@pytest.fixture
def run(tmp_path, environment):
    """Runs a notebook in a kernel of its own, with a home of its own."""
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")
    homes = {name: str(tmp_path / name.lower()) for name in folders}

    def run_notebook(path):
        done = tmp_path / path.name
        words = [*EXECUTE, f"--output={done}", path]
        subprocess.run(words, env=environment | homes, cwd=tmp_path, check=True, timeout=280)
        return read(done)

    return run_notebook


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_heatmap_lies_over_the_lesion(run):
    shown = outputs(run(FOLDER / "heatmap.ipynb"))
    text = "".join(output.get("text", "") for output in shown)
    assert "flagged: True" in text
    assert "the peak lies in the lesion: True" in text
    assert sum("image/png" in output.get("data", {}) for output in shown) == 1
    warned = [output["text"] for output in shown if output.get("name") == "stderr"]
    assert [text for text in warned if "TqdmWarning" not in text] == []  # of open_clip's libraries


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path):
    notebook = read(path)
    assert outputs(notebook) == []
    assert {cell.execution_count for cell in notebook.cells if cell.cell_type == "code"} == {None}
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
