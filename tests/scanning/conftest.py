import pytest

from tests import tiny


@pytest.fixture
def three(root):
    """Three studies of a series of three slices each, in folders 0 to 2."""
    for number in range(3):
        volume = tiny.head_volume(number, slices=3)
        tiny.write_series(root / str(number), volume, study=f"1.{number}")
    return root
