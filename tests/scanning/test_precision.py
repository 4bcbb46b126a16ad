"""A scan computes each detector in the precision that it passed in, and results say which."""

from dataclasses import replace

import numpy as np
import pytest

from medscan import detector, results
from medscan.choices import Order, Precision, RuntimeName
from medscan.chosen import settled
from medscan.errors import UsageError
from medscan.history import Trial
from medscan.inspect import verify_results
from medscan.options import Compute
from medscan.runtimes import graph_of, loading, measure_layers
from medscan.scanning import scan
from tests.options import changed
from tests.runtimes import needs_bf16, needs_int8

PASSED = Trial("bf16", "openvino 1", 100, 0, 0.01, 0.999, 0.001)
COMPUTE = Compute("cpu", batch_size=4)


@pytest.fixture
def tried(options, detector_file, kept_graphs, monkeypatch):
    """Options with a detector that passed in bfloat16, on a CPU that multiplies it."""
    monkeypatch.delenv("MEDSCAN_RUNTIME")
    monkeypatch.setattr(loading, "computes_bf16", lambda: True)
    found = replace(detector.read(detector_file), trials=(PASSED,))
    return changed(options, detectors=((detector_file, settled(found, COMPUTE)),))


def computed(options):
    found = results.open(options.outputs.out).studies()
    return {(s.info["runtime"], s.info["precision"]) for study in found for s in study.stacks}


def in_precision(options, precision, runtime=RuntimeName.AUTO):
    compute = replace(COMPUTE, precision=precision, runtime=runtime)
    ((path, found),) = options.inputs.detectors
    found = settled(replace(found, precision=""), compute)
    return changed(options, detectors=((path, found),), precision=precision, runtime=runtime)


@needs_bf16
def test_auto_takes_what_a_detector_passed_in_and_another_precision_scans_again(three, tried):
    assert scan(tried).scanned == 3
    assert computed(tried) == {("openvino", "bf16")}
    run = results.open(tried.outputs.out).run()
    assert run.precision == "bf16"
    assert [facts["precision"] for facts in run.detectors] == ["bf16"]
    assert scan(tried).unchanged == 3
    single = in_precision(tried, Precision.FP32)
    assert scan(single).scanned == 3
    assert computed(tried) == {("openvino", "fp32")}


def scores(options):
    """Bytes of scores and maps, by study."""
    return {
        study.info["StudyInstanceUID"]: [
            stack.slice_score.tobytes() + stack.heatmap.tobytes() for stack in study.stacks
        ]
        for study in results.open(options.outputs.out).studies()
    }


@pytest.fixture
def ranged(tried, detector_file, backbone):
    """The same, with ranges for int8, in which it passed too."""
    ((path, found),) = tried.inputs.detectors
    graph = graph_of(found, lambda: found.load_method(detector_file, backbone))
    layers = measure_layers(graph, np.random.default_rng(0).random((4, 3, 64, 64), np.float32))
    trials = (PASSED, replace(PASSED, precision="int8", layers=layers))
    return changed(tried, detectors=((path, settled(replace(found, trials=trials), COMPUTE)),))


@pytest.mark.parametrize(
    "precision",
    [
        Precision.FP32,
        pytest.param(Precision.BF16, marks=needs_bf16),
        pytest.param(Precision.INT8, marks=needs_int8),
    ],
)
def test_a_score_depends_on_its_slice_alone(three, ranged, tmp_path, precision):
    options = in_precision(ranged, precision)
    scan(options)
    assert computed(options) == {("openvino", precision)}
    turned = changed(options, out=tmp_path / "turned.h5", order=Order.NEWEST, workers=2)
    scan(turned)
    assert scores(turned) == scores(options)
    alone = changed(options, out=tmp_path / "alone.h5", roots=(three / "2",))
    scan(alone)
    assert scores(alone) == {"1.2": scores(options)["1.2"]}


@needs_int8
def test_auto_is_int8_for_a_detector_that_passed_in_it(three, ranged):
    scan(ranged)
    assert computed(ranged) == {("openvino", "int8")}
    found = verify_results(ranged.inputs, ranged.outputs, 9, device="cpu")
    assert (found.problems, found.rescored) == ([], 3)


@needs_bf16
def test_other_runtimes_do_not_scan_again(three, tried):
    single = in_precision(tried, Precision.FP32)
    assert scan(single).scanned == 3
    torch = in_precision(tried, Precision.FP32, RuntimeName.TORCH)
    assert scan(torch).unchanged == 3
    assert scan(in_precision(tried, Precision.AUTO, RuntimeName.TORCH)).unchanged == 3


@needs_bf16
def test_scores_are_verified_in_the_precision_that_each_stack_records(three, tried):
    scan(changed(tried, max_studies=2))
    scan(changed(in_precision(tried, Precision.FP32), max_studies=1))
    assert computed(tried) == {("openvino", "bf16"), ("openvino", "fp32")}
    found = verify_results(tried.inputs, tried.outputs, 9, device="cpu")
    assert found.problems == []
    assert found.rescored == 2
    assert found.score_difference < 1e-6
    other = verify_results(
        tried.inputs, tried.outputs, 9, 1e-9, device="cpu", precision=Precision.FP32
    )
    assert len(other.problems) > 0


def test_openvino_is_refused_in_one_line_where_it_cannot_compute(three, options):
    asked = changed(options, runtime=RuntimeName.OPENVINO, precision=Precision.FP16)
    with pytest.raises(UsageError, match="has no fp16 on this CPU; choose torch, or auto"):
        scan(asked)
