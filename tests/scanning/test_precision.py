"""A scan computes each detector in the precision that it passed in, and results say which."""

from dataclasses import replace

import pytest

from medscan import detector, results
from medscan.choices import Precision, RuntimeName
from medscan.chosen import settled
from medscan.errors import UsageError
from medscan.history import Trial
from medscan.inspect import verify_results
from medscan.options import Compute
from medscan.runtimes import loading
from medscan.scanning import scan
from tests.options import changed
from tests.runtimes import needs_bf16

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
