"""A night from PACS to PACS, in which client and server are killed, and how fast it is without.

    python tests/benchmarks/pacs_night.py [--studies 200] [--slices 20] [--side 64] [--rates]

Fills an Orthanc with studies of an MR series and a CT series each, then runs `medscan fetch`,
`scan`, `export` and `send` as processes. While studies are fetched, medscan is killed twice and
Orthanc twice, and while objects are sent, each of them once. At the end each study must be in the
folder byte for byte, each object in Orthanc once and byte for byte, and no word that was printed
may name a patient. Prints the largest memory of both, which must not grow with the studies.

With --rates, it then fetches 400 objects of 512 x 512 pixels, and sends 200, undisturbed.

All of it runs in a network namespace of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from medscan.cli import app
from medscan.cli import main as main_of_medscan
from tests import tiny
from tests.export.make import exported, scanned, single
from tests.pacs import inside

NAME, NUMBER = "Quixote^Rocinante", "PID-7700123"
"""Of every patient, with a number behind each."""
DETECTOR = "brain-flair"
Mishap = Callable[[int], bool]
"""Does something to a process in its time, and returns whether it did before the process ended."""
Start = Callable[[list[str], Path, Path], int]
"""Starts medscan with words, in a folder, with what it prints in a file; returns its process."""


class Night:
    """The commands of a night, and what they printed."""

    def __init__(self, folder: Path, studies: int, slices: int, side: int, start: Start) -> None:
        self.folder, self.start = folder, start
        self.said: list[str] = []
        self.memory: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.results = folder / "night.h5"
        for number in range(studies):
            tags = {"PatientName": f"{NAME}{number}", "PatientID": f"{NUMBER}-{number}"}
            volume = tiny.head_volume(number % 16, slices, side)
            for modality in ("MR", "CT"):
                where = folder / "in" / f"{number:05d}" / modality
                some = volume if modality == "MR" else volume[:, :, :2]
                tiny.write_series(where, some, study=f"1.2.77.{number}", Modality=modality, **tags)

    def run(self, *words: object) -> None:
        """Run a command in this process, which has loaded what it needs."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            app([str(word) for word in words], standalone_mode=False)
        self.said.append(said.getvalue())

    def disturbed(self, mishaps: list[Mishap], *words: object) -> None:
        """Run a command as a process until it has done all, and have things happen to it."""
        for _ in range(20):
            said = self.folder / "said"
            process = self.start([str(word) for word in words], self.folder, said)
            while mishaps and mishaps[0](process):
                del mishaps[0]
            most = 0
            while not has_ended(process):
                most = max(most, memory_of(process))
                time.sleep(0.03)
            _, status = os.waitpid(process, 0)
            code = os.waitstatus_to_exitcode(status)
            self.said.append(said.read_text())
            self.memory[str(words[0])] = max(self.memory[str(words[0])], most)
            if code == 0:
                return
        raise AssertionError(self.said[-1])

    # --- what happens -----------------------------------------------------------------------------

    def _comes(self, process: int, done: Callable[[], bool]) -> bool:
        """Whether something is done before a process ends."""
        while not has_ended(process):
            if done():
                return True
            time.sleep(0.005)
        return False

    def kills_medscan(self, done: Callable[[], bool]) -> Mishap:
        """Return what kills medscan when something is done."""

        def happen(process: int) -> bool:
            if not self._comes(process, done):
                return False
            self.kills["medscan"] += 1
            os.kill(process, signal.SIGKILL)
            os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
            return True

        return happen

    def kills_orthanc(self, done: Callable[[], bool]) -> Mishap:
        """Return what kills Orthanc when something is done, and starts it again."""

        def happen(process: int) -> bool:
            if not self._comes(process, done):
                return False
            self.kills["Orthanc"] += 1
            inside.orthanc.kill()
            time.sleep(0.3)
            inside.orthanc.start()
            return True

        return happen

    # --- the night --------------------------------------------------------------------------------

    def fetched(self) -> int:
        """Files that were fetched."""
        folders = (self.folder / "spool", self.folder / "spool.fetch" / "partial")
        # os.walk passes over folders that are moved meanwhile.
        names = (name for folder in folders for *_, names in os.walk(folder) for name in names)
        return sum(1 for name in names if len(name) == 20 and name.endswith(".dcm"))

    def stored(self) -> int:
        """Instances in Orthanc."""
        return int(inside.rest("/statistics")["CountInstances"])

    def fetch(self) -> None:
        """Fetch everything, disturbed four times."""
        wanted = sum(1 for _ in self.folder.glob("in/*/MR/*"))

        def part(share: float) -> Callable[[], bool]:
            return lambda: self.fetched() >= share * wanted

        mishaps = [
            self.kills_medscan(part(0.2)),
            self.kills_orthanc(part(0.35)),
            self.kills_medscan(part(0.5)),
            self.kills_orthanc(part(0.7)),
        ]
        words = ("--into", "spool", "--since", "20240101", "--detector", DETECTOR)
        self.disturbed(mishaps, "fetch", inside.URL, *words)
        assert digests(self.folder / "spool") == digests(*self.folder.glob("in/*/MR")), "not whole"

    def scan_and_export(self) -> None:
        """Scan, and make objects of every study."""
        self.run("scan", self.folder / "spool", "--detector", DETECTOR, "--out", self.results)
        for kind in ("dicom-pm", "dicom-sr"):
            words = ("--to", kind, "--archive", self.folder / "spool")
            self.run("export", self.results, *words, "--out", self.folder / "objects")

    def send(self) -> None:
        """Send everything, disturbed twice."""
        objects = list((self.folder / "objects").glob("*.dcm"))
        before = self.stored()

        def part(share: float) -> Callable[[], bool]:
            return lambda: self.stored() >= before + share * len(objects)

        mishaps = [self.kills_medscan(part(0.3)), self.kills_orthanc(part(0.6))]
        words = ("send", "objects", "--to", inside.URL)
        self.disturbed(mishaps, *words)
        assert self.stored() == before + len(objects), "not each once"
        for path in objects:
            (uid,) = inside.rest("/tools/lookup", path.stem.encode())
            assert inside.raw(f"{uid['Path']}/file") == path.read_bytes(), "not what was sent"

    def forget(self) -> None:
        """Remove what is published from the folder, and fetch nothing again."""
        words = ("--into", "spool", "--since", "20240101", "--detector", DETECTOR)
        self.disturbed([], "fetch", inside.URL, *words, "--forget", self.results)
        assert self.fetched() == 0, self.said[-1]

    def check_privacy(self) -> None:
        """Nothing that was printed names a patient."""
        text = "".join(self.said)
        assert not any(word in text for word in (NAME.split("^")[0], NUMBER, "1.2.77."))


started: list[subprocess.Popen[bytes]] = []
"""Kept, since one that is forgotten is waited for by Python."""


def start_anew(words: list[str], folder: Path, said: Path) -> int:
    """Start medscan as a user does."""
    with said.open("w") as stream:
        command = [sys.executable, "-m", "medscan", *words]
        started.append(subprocess.Popen(command, cwd=folder, stdout=stream, stderr=stream))
    return started[-1].pid


def start_at_once(words: list[str], folder: Path, said: Path) -> int:
    """Start medscan as a fork of this process, which has loaded its libraries."""
    process = os.fork()
    if process:
        return process
    try:
        os.chdir(folder)
        stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.argv = ["medscan", *words]
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        main_of_medscan()
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code or 0))
    finally:
        os._exit(1)


def has_ended(process: int) -> bool:
    """Whether a process has ended; it is left to be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def memory_of(process: int) -> int:
    """Largest memory of a process so far, MiB; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) >> 10
    return 0


def digests(*folders: Path) -> list[str]:
    files = (p for folder in folders for p in folder.rglob("*") if p.is_file())
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def night(folder: Path, studies: int, slices: int, side: int, start: Start) -> Night:
    """Run a night, and check it."""
    one = Night(folder, studies, slices, side, start)
    inside.fill(folder / "in")
    one.fetch()
    one.scan_and_export()
    one.send()
    one.forget()
    one.check_privacy()
    return one


def rates(folder: Path) -> dict[str, float]:
    """Objects a second of 512 x 512 pixels, fetched and sent undisturbed."""
    from tests.pacs import calls

    inside.empty()
    noise = np.random.default_rng(0).integers(0, 1000, (512, 512, 400), np.int16)
    tiny.write_series(folder / "large", noise, study="1.2.3")
    inside.fill(folder / "large")
    fetched = calls.fetched(folder / "rates")
    assert fetched.fetched == 400, fetched
    source = scanned(single(folder / "source"))
    inside.fill(folder / "source")
    (path, *_), _ = exported("dicom-sc", source.job(folder / "pictures"))
    picture = pydicom.dcmread(path)
    path.unlink()
    picture.Rows = picture.Columns = 512
    picture.PixelData = bytes(512 * 512 * int(picture.SamplesPerPixel))
    for number in range(200):
        uid = f"1.2.3.4.{number}"
        picture.SOPInstanceUID = picture.file_meta.MediaStorageSOPInstanceUID = uid
        picture.save_as(folder / "pictures" / f"{number}.dcm")
    sent = calls.sent(folder / "pictures", new_studies=False)
    assert sent.stored == 200, sent
    return {"fetched": fetched.fetched / fetched.seconds, "sent": sent.stored / sent.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--rates", action="store_true")
    options = parser.parse_args()
    if lack := inside.lacks():
        sys.exit(lack)
    with tempfile.TemporaryDirectory() as name:
        process = inside.Inside(Path(name) / "orthanc")
        try:
            sizes = (options.studies, options.slices, options.side)
            begun = time.monotonic()
            told = process(told_of, Path(name), *sizes)
            print(f"{told} in {time.monotonic() - begun:.0f} s")
            if options.rates:
                for what, rate in process(rates, Path(name)).items():
                    print(f"{what} {rate:.0f} objects/s")
        finally:
            process.close()


def told_of(folder: Path, studies: int, slices: int, side: int, start: Start = start_anew) -> str:
    """Run a night, and return a line about it."""
    one = night(folder, studies, slices, side, start)
    objects = len(list((folder / "objects").glob("*.dcm")))
    kills = ", ".join(f"{who} killed {count} times" for who, count in sorted(one.kills.items()))
    return (
        f"{studies} studies whole, {objects} objects stored once, no patient named; {kills}; "
        f"memory at most {one.memory['fetch']} MiB to fetch, {one.memory['send']} MiB to send"
    )


if __name__ == "__main__":
    from tests.benchmarks.pacs_night import main

    main()
