import shutil
import subprocess

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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1, which has signed itself, and its key: ca.pem and key.pem."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("certificate")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=pacs"
    paths = ("-keyout", folder / "key.pem", "-out", folder / "ca.pem")
    address = ("-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", *words.split(), *address, *paths]
    subprocess.run(command, check=True, capture_output=True)
    return folder
