"""Units of values are those that the header states, and none where it does not."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medscan.decoding.tables import rescale_of, units_of


@pytest.mark.parametrize(
    ("facts", "units"),
    [
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}, "HU"),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleType": "HU"}, "HU"),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleType": "MGML"}, "mg/ml"),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleType": "DOE^JANE"}, ""),
        ({"Modality": "CT", "RescaleSlope": 1, "RescaleType": "US"}, ""),
        ({"Modality": "CT"}, ""),
        ({"Modality": "CT", "RescaleSlope": None}, ""),
        ({"Modality": "CT", "RescaleIntercept": -1024}, "HU"),
        ({"Modality": "MR", "RescaleSlope": 2.5, "RescaleType": "US"}, ""),
        ({"Modality": "PT", "RescaleSlope": 0.3, "Units": "BQML"}, "Bq/ml"),
        ({"Modality": "PT", "RescaleSlope": 0.3, "Units": "DOE^JANE"}, ""),
        ({}, ""),
    ],
)
def test_units(facts, units):
    header = Dataset()
    header.PixelRepresentation = 0
    for name, value in facts.items():
        setattr(header, name, value)
    assert units_of(header, 0, rescale_of(header, 0)) == units


def test_units_of_a_frame_are_its_own():
    header, item, own = Dataset(), Dataset(), Dataset()
    header.PixelRepresentation, header.Modality = 0, "CT"
    own.RescaleSlope, own.RescaleIntercept, own.RescaleType = 1, 0, "Z_EFF"
    item.PixelValueTransformationSequence = [own]
    header.PerFrameFunctionalGroupsSequence = [item]
    assert units_of(header, 0, rescale_of(header, 0)) == "effective atomic number"


@pytest.mark.parametrize("slope", [None, 0, "absent"])
def test_an_intercept_without_a_slope_counts(slope):
    header = Dataset()
    header.PixelRepresentation, header.RescaleIntercept = 0, -1024
    if slope != "absent":
        header.RescaleSlope = slope
    assert rescale_of(header, 0)(np.array([1000])) == -24
