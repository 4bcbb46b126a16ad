"""What a node is refused for, and what it logs to whom."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from medscan.cluster import scanner
from medscan.cluster.scanner import MARK, Scanner, Setup
from medscan.errors import UsageError


@pytest.fixture
def node(options, root, monkeypatch):
    """A scanner that is in no cluster."""
    monkeypatch.setattr(scanner, "VISIBLE_S", 0.0)
    (root / "file").touch()
    options.outputs.parts.mkdir()
    (options.outputs.parts / MARK).write_text("mark")
    found = Scanner.__new__(Scanner)
    found.options = options
    found.setup = Setup(options, None, [], "mark", options.inputs.tools, cpus=1)
    return found


def test_a_node_like_the_drivers_is_taken(node):
    node._check_node()


def test_a_node_with_another_folder_is_refused(node):
    (node.options.outputs.parts / MARK).write_text("another")
    with pytest.raises(UsageError, match="on a file system that all nodes share"):
        node._check_node()
    (node.options.outputs.parts / MARK).unlink()
    with pytest.raises(UsageError, match="on a file system that all nodes share"):
        node._check_node()


def test_a_node_without_the_archive_is_refused(node, root):
    (root / "file").unlink()
    with pytest.raises(UsageError, match="mount it on all nodes"):
        node._check_node()


def test_a_node_with_other_programs_is_refused(node):
    node.setup = replace(node.setup, tools="medscan 0.0.1")
    with pytest.raises(UsageError, match=r"the driver's medscan 0\.0\.1"):
        node._check_node()


def test_a_detector_that_changed_on_the_way_is_refused(node, detector_file, tmp_path):
    ((path, detector),) = node.options.inputs.detectors
    with pytest.raises(UsageError, match="has changed since the scan began"):
        scanner._verify(path, replace(detector, digest="0" * 64))
    assert scanner._verify(path, detector) is detector


@pytest.fixture
def collected():
    log = logging.getLogger("medscan")
    before = log.handlers, log.propagate
    yield scanner._LogCollector()
    log.handlers, log.propagate = before


def test_what_a_node_logs_goes_to_the_driver_without_what_errors_say(collected):
    log = logging.getLogger("medscan.scan")
    try:
        Path("/patient/name").read_bytes()
    except OSError:
        log.exception("study given up", extra={"study": "abc"})
    (record,) = collected.drain()
    assert record.getMessage().startswith("study given up (FileNotFoundError at pathlib.py:")
    assert record.study == "abc"
    assert (record.exc_info, record.exc_text) == (None, None)
    assert list(collected.drain()) == []
