"""What scanned a stack is told in words that identify nobody."""

from dataclasses import replace

import pytest

from medscan.archive import Pseudonyms, index
from medscan.scoring.device import device_of, rounded
from tests import tiny

FACTS = {
    "Manufacturer": "SIEMENS",
    "ManufacturerModelName": "Skyra_fit Doe 48151623",
    "SoftwareVersions": ["syngo MR E11", "N4_VE11C", "Jane"],
    "DeviceSerialNumber": "45123",
    "EchoTime": "92.34",
    "RepetitionTime": "8996",
}


def stack(root, *, identify=False, **facts):
    tiny.write_series(root, tiny.head_volume(1, slices=3), **facts)
    found = index([root], pseudonyms=Pseudonyms(b"k" * 32, ("FLAIR",), identify=identify))
    return found.studies[0].series[0].stacks[0]


def test_names_and_numbers_that_may_be_a_persons_are_replaced(tmp_path):
    manufacturer, model, software, scanner, protocol = device_of(stack(tmp_path, **FACTS))
    assert manufacturer == "SIEMENS"
    assert model.startswith("Skyra_")
    assert software.startswith("syngo MR E11 ")
    assert protocol == "BRAIN FLAIR MR axial TE 92 TR 9000 1 mm"
    assert len(scanner) == 8
    together = " ".join([model, software, scanner])
    assert not any(word in together for word in ("Doe", "Jane", "48151623", "45123"))


def test_a_change_still_shows_and_what_is_the_same_stays_so(tmp_path):
    first = device_of(stack(tmp_path / "a", **FACTS))
    same = device_of(stack(tmp_path / "b", **FACTS))
    other = device_of(stack(tmp_path / "c", **FACTS | {"SoftwareVersions": "syngo MR Joan"}))
    assert first == same
    assert first[2] != other[2]
    assert device_of(stack(tmp_path / "d", identify=True, **FACTS))[3] == "45123"


def test_what_nobody_says_is_empty(tmp_path):
    assert device_of(stack(tmp_path)) == ["", "", "", "", "BRAIN FLAIR MR axial 1 mm"]
    odd = replace(stack(tmp_path / "b"), slice_spacing=float("inf"), facts={"EchoTime": "1e300"})
    assert device_of(odd)[4] == "axial"


@pytest.mark.parametrize(("value", "told"), [(92.34, 92), (8996, 9000), (0.0417, 0.042), (5, 5)])
def test_two_digits_are_told(value, told):
    assert rounded(value) == pytest.approx(told)
