"""The graph of the tiny detector, and images to score."""

import numpy as np
import pytest

from medscan import detector
from medscan.runtimes.graphs import graph_of


@pytest.fixture
def graph(detector_file, backbone, kept_graphs):
    found = detector.read(detector_file)
    return graph_of(found, lambda: found.load_method(detector_file, backbone))


@pytest.fixture
def images():
    return np.random.default_rng(1).random((6, 3, 64, 64), np.float32)
