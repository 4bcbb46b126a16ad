import pytest

from tests.pacs import inside


@pytest.fixture(scope="module")
def beside_orthanc(tmp_path_factory):
    """Calls functions in a process that has an Orthanc beside it, and nothing else."""
    if lack := inside.lacks():
        pytest.skip(lack)
    process = inside.Inside(tmp_path_factory.mktemp("orthanc") / "storage")
    yield process
    process.close()


@pytest.fixture
def pacs(beside_orthanc):
    """The same, with an Orthanc that is empty."""
    beside_orthanc(inside.empty)
    return beside_orthanc
