"""A process in a network namespace of its own: an Orthanc, and what tests have done beside it.

`python -m tests.pacs.inside FOLDER`, by `Inside`. It runs functions that it is sent, and answers
with what they return or raise. Nothing of it can be reached from outside, and nothing outside from
it: Orthanc binds every address, whatever it is told.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HTTP, DICOM = 18042, 14242
REST = f"http://127.0.0.1:{HTTP}"
URL = f"{REST}/dicom-web"
PEER = f"ORTHANC@127.0.0.1:{DICOM}"
ORTHANC = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
"""Debian's is where only root's path looks."""
STORESCP = shutil.which("storescp", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
"""dcmtk's: in a virtual environment, pynetdicom has a program of the same name."""
MINE = 11112
"""Port at which Orthanc looks for medscan, and tests start receivers."""


def lacks() -> str:
    """Say what this machine lacks for such a process; empty if it has all of it."""
    if not ORTHANC or not PLUGIN.exists():
        return "Orthanc and its DICOMweb plug-in are not installed"
    try:
        tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return "there is no unshare"
    return "this machine gives no network namespaces" if tried.returncode else ""


class Inside:
    """The process, and what it is asked to do."""

    def __init__(self, folder: Path) -> None:
        command = ["unshare", "-rn", "--kill-child", sys.executable, "-m", __name__, str(folder)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def __call__(self, function, *args, **kwargs):
        """Have a function of a module called there, and return what it returns."""
        pickle.dump((function, args, kwargs), self._process.stdin)
        self._process.stdin.flush()
        returned, error = pickle.load(self._process.stdout)
        if error is not None:
            raise error
        return returned

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)


class Orthanc:
    """An Orthanc of this namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process = folder, None
        folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "HttpPort": HTTP,
            "DicomPort": DICOM,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DefaultEncoding": "Utf8",
            "HttpCompressionEnabled": False,
            "OverwriteInstances": False,
            "DicomModalities": {"ms": ["MEDSCAN", "127.0.0.1", MINE]},
        }
        self.file = folder.with_suffix(".json")
        self.file.write_text(json.dumps(configuration))

    def start(self, **limits) -> None:
        """Start it, and wait until it answers."""
        command = [ORTHANC, str(self.file)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **quiet, **limits)
        for _ in range(400):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{URL}/studies?limit=1", timeout=5).close()
                return
            time.sleep(0.025)
        raise TimeoutError("Orthanc does not answer")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def bring_loopback_up() -> None:
    """What `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        request = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(one, 0x8914, request)  # SIOCSIFFLAGS


orthanc: Orthanc
"""That of this process."""


def raw(path: str, body: bytes | None = None, method: str | None = None) -> bytes:
    """Ask Orthanc itself, not its DICOMweb."""
    request = urllib.request.Request(REST + path, body, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def rest(path: str, body: bytes | None = None, method: str | None = None):
    """The same, of JSON: `rest("/statistics")`."""
    return json.loads(raw(path, body, method) or b"null")


def wait_for(port: int) -> None:
    """Wait until something listens at a port."""
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens at {port}")


def fill(folder: Path) -> None:
    """Store a file, or every file below a folder, in Orthanc."""
    for path in sorted(p for p in (folder, *folder.rglob("*")) if p.is_file()):
        rest("/instances", path.read_bytes())


def empty() -> None:
    """Remove everything from Orthanc."""
    for patient in rest("/patients"):
        rest(f"/patients/{patient}", method="DELETE")


def main() -> None:
    global orthanc
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what functions print does not mix with the answers
    bring_loopback_up()
    me = sys.modules["tests.pacs.inside"]
    me.orthanc = Orthanc(Path(sys.argv[1]))
    me.orthanc.start()
    try:
        while True:
            try:
                function, args, kwargs = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer = function(*args, **kwargs), None
            except Exception as error:
                answer = None, error
            pickle.dump(answer, answers)
            answers.flush()
    finally:
        me.orthanc.kill()
        os._exit(0)  # some libraries take seconds to leave


if __name__ == "__main__":
    from tests.pacs.inside import main

    main()
