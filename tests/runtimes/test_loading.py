"""Which library computes a detector, and in which precision `auto` does."""

from dataclasses import replace

import pytest

from medscan import detector
from medscan.choices import Precision, RuntimeName
from medscan.errors import DetectorError, UsageError
from medscan.history import Trial
from medscan.runtimes import Loader, choose_precision, choose_runtime, openvino
from medscan.runtimes import loading as room

AUTO, TORCH, OPENVINO = RuntimeName
FP32, BF16, FP16, INT8 = Precision.FP32, Precision.BF16, Precision.FP16, Precision.INT8
PASSED = Trial("bf16", "openvino 1", 100, 1, 0.01, 0.999, 0.001, -0.001)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """A machine with OpenVINO and a CPU that multiplies bfloat16, without a GPU."""
    monkeypatch.delenv("MEDSCAN_RUNTIME")
    monkeypatch.setattr(room.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(openvino, "installed", lambda: True)
    monkeypatch.setattr(openvino, "supports", lambda precision: precision in (FP32, BF16, INT8))
    monkeypatch.setattr(room, "computes_bf16", lambda: True)
    monkeypatch.setattr(room, "computes_int8", lambda: True)
    monkeypatch.setattr(room, "choose_device", lambda name: "cpu" if name == "auto" else name)


@pytest.mark.parametrize("precision", [FP32, BF16])
def test_a_cpu_runs_openvino(precision):
    assert choose_runtime(AUTO, "cpu", precision) is OPENVINO
    assert choose_runtime(OPENVINO, "cpu", precision) is OPENVINO
    assert choose_runtime(TORCH, "cpu", precision) is TORCH


@pytest.mark.parametrize(
    ("device", "precision", "why"),
    [("cuda", FP32, "CPUs only"), ("cuda:1", BF16, "CPUs only"), ("cpu", FP16, "no fp16")],
)
def test_what_openvino_cannot_do_pytorch_does(device, precision, why):
    assert choose_runtime(AUTO, device, precision) is TORCH
    with pytest.raises(UsageError, match=f"--runtime openvino: .*{why}"):
        choose_runtime(OPENVINO, device, precision)


def test_without_openvino_pytorch_does_all(monkeypatch):
    monkeypatch.setattr(openvino, "installed", lambda: False)
    assert choose_runtime(AUTO, "cpu", FP32) is TORCH
    with pytest.raises(UsageError, match="not installed"):
        choose_runtime(OPENVINO, "cpu", FP32)


def test_on_other_processors_openvino_must_be_asked_for(monkeypatch):
    monkeypatch.setattr(room.platform, "machine", lambda: "aarch64")
    assert choose_runtime(AUTO, "cpu", FP32) is TORCH
    assert choose_runtime(OPENVINO, "cpu", FP32) is OPENVINO


def test_the_environment_says_what_auto_is(monkeypatch):
    monkeypatch.setenv("MEDSCAN_RUNTIME", "torch")
    assert choose_runtime(AUTO, "cpu", FP32) is TORCH
    assert choose_runtime(OPENVINO, "cpu", FP32) is OPENVINO
    monkeypatch.setenv("MEDSCAN_RUNTIME", "\x1b[1mfast")
    with pytest.raises(UsageError, match=r"MEDSCAN_RUNTIME=\S*fast: choose one of auto"):
        choose_runtime(AUTO, "cpu", FP32)


@pytest.fixture
def found(detector_file):
    return replace(detector.read(detector_file), trials=(PASSED,))


def test_auto_is_bfloat16_for_a_detector_that_passed(found):
    assert choose_precision(found, AUTO, "auto") is BF16
    assert choose_precision(found, OPENVINO, "cpu") is BF16


def test_the_log_says_of_a_precision_that_it_was_tried_on_patients_of_the_shots(found, caplog):
    caplog.set_level("INFO", logger="medscan")
    choose_precision(found, AUTO, "cpu")
    assert caplog.messages == []
    own = replace(found, trials=(replace(PASSED, seen=True),))
    assert choose_precision(own, AUTO, "cpu") is BF16
    (told,) = caplog.messages
    assert told.endswith("computed in bf16, which was tried on patients that it was fitted on")


def test_auto_is_single_precision_for_any_other(found):
    failed = replace(PASSED, flags=2)
    assert choose_precision(replace(found, trials=()), AUTO, "cpu") is FP32
    assert choose_precision(replace(found, trials=(failed,)), AUTO, "cpu") is FP32


@pytest.mark.parametrize(("runtime", "device"), [(TORCH, "cpu"), (AUTO, "cuda"), (AUTO, "cuda:0")])
def test_auto_is_single_precision_where_nobody_tried(found, runtime, device):
    assert choose_precision(found, runtime, device) is FP32


def test_auto_is_single_precision_where_bfloat16_is_emulated_or_not_there(found, monkeypatch):
    monkeypatch.setattr(room, "computes_bf16", lambda: False)
    assert choose_precision(found, AUTO, "cpu") is FP32
    monkeypatch.setattr(room, "computes_bf16", lambda: True)
    monkeypatch.setattr(openvino, "installed", lambda: False)
    assert choose_precision(found, AUTO, "cpu") is FP32


def test_auto_is_int8_for_a_detector_that_passed_where_the_cpu_adds_up_bytes(found, monkeypatch):
    both = replace(found, trials=(PASSED, replace(PASSED, precision="int8")))
    assert choose_precision(both, AUTO, "cpu") is INT8
    assert choose_precision(both, TORCH, "cpu") is FP32
    assert choose_precision(both, AUTO, "cuda") is FP32
    monkeypatch.setattr(room, "computes_int8", lambda: False)
    assert choose_precision(both, AUTO, "cpu") is BF16
    monkeypatch.setattr(room, "computes_bf16", lambda: False)
    assert choose_precision(both, AUTO, "cpu") is FP32


@pytest.mark.parametrize(
    ("runtime", "device", "why"), [(TORCH, "cpu", "torch was chosen"), (AUTO, "cuda", "CPUs only")]
)
def test_int8_is_never_replaced_by_another_precision(runtime, device, why):
    with pytest.raises(UsageError, match=f"--precision int8 needs OpenVINO, and .*{why}"):
        choose_runtime(runtime, device, INT8)


def test_int8_asks_for_ranges(detector_file):
    with pytest.raises(DetectorError, match="tiny-flair has not been tried in int8: run medscan"):
        Loader(AUTO, "cpu", 1).load(detector_file, detector.read(detector_file), INT8)
