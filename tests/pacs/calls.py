"""What tests have done in the process beside Orthanc."""

from __future__ import annotations

import resource
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

from medscan.errors import UnavailableError
from medscan.fetching import Wish, fetch, forget, opened_spool
from medscan.pacs import (
    Archive,
    Login,
    Node,
    Web,
    dimse,
    find_objects,
    opened,
    patience,
    peer,
    web_address,
)
from medscan.sending import TABLES, send
from tests.benchmarks.pacs_night import start_at_once, told_of
from tests.pacs import inside

NOBODY = Login()


def night(folder: Path) -> str:
    """The smallest one from PACS to PACS, which soon tries again after each kill."""
    patience.WAITS_S = (0.3, 0.6, 1.2)
    return told_of(folder, 3, 16, 16, start_at_once)


def web(url: str = inside.URL, kind: type = Web) -> Web:
    return kind(web_address(url, Login()), Login(), 10)


def fetched(into: Path, wish: Wish | None = None, limit: int | None = None, kind: type = Web):
    """Fetch from Orthanc into a folder."""
    source = web(kind=kind)
    try:
        with opened_spool(into) as spool:
            return fetch(source, spool, wish or Wish(), limit)
    finally:
        source.close()


def forgotten(into: Path, results: Path):
    with opened_spool(into) as spool:
        return forget(spool, results)


def sent(
    folder: Path,
    to: str = inside.URL,
    *,
    new_studies: bool = True,
    kind: type = Web,
    login: Login = NOBODY,
):
    """Send objects to Orthanc, or another application entity."""
    target = web(to, kind) if "://" in to else Node(peer(to), "MEDSCAN", login, 5)
    with opened(folder.with_name(f"{folder.name}.sent"), TABLES) as ledger:
        return send(find_objects([folder]), target, to, ledger, new_studies=new_studies)


def stored() -> dict[str, bytes]:
    """Files that Orthanc has, by SOP Instance UID."""
    tags = {
        one: inside.rest(f"/instances/{one}/simplified-tags") for one in inside.rest("/instances")
    }
    return {t["SOPInstanceUID"]: inside.raw(f"/instances/{one}/file") for one, t in tags.items()}


# --- mishaps -------------------------------------------------------------------------------------


def restart_soon() -> None:
    """Kill Orthanc, and start it again a little later."""
    inside.orthanc.kill()
    threading.Thread(target=inside.orthanc.start).start()


class KilledInAnswer(Web):
    """Orthanc is killed while it answers, once."""

    asked = 0

    def retrieve(self, study: str, series: str, instance: str = ""):
        self.asked += 1
        for number, pieces in enumerate(super().retrieve(study, series, instance)):
            if number == 1 and self.asked == 1:
                restart_soon()
            yield pieces


class KilledInRequest(Web):
    """Orthanc is killed when it has stored some of what it is sent, once, before it answers."""

    asked = 0

    def store(self, objects):
        self.asked += 1
        if self.asked == 1:
            super().store(objects[:2])
            restart_soon()
            raise UnavailableError("its answer was cut short")
        return super().store(objects)


def fetched_from_one_that_dies(into: Path):
    """Fetch, and return how often it was asked for objects too."""
    patience.WAITS_S = (0.3, 0.6, 1.2)
    source = web(kind=KilledInAnswer)
    with opened_spool(into) as spool:
        return fetch(source, spool, Wish()), source.asked


def sent_to_one_that_dies(folder: Path):
    patience.WAITS_S = (0.3, 0.6, 1.2)
    return sent(folder, kind=KilledInRequest)


def fill_the_disk(limit: int) -> None:
    """Restart Orthanc so that it can write no file of more bytes, as on a disk without room."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    inside.orthanc.kill()
    inside.orthanc.start(preexec_fn=limited)


def restart() -> None:
    inside.orthanc.kill()
    inside.orthanc.start()


def received(folder: Path, objects: Path, words: tuple[str, ...] = (), login: Login = NOBODY):
    """Send objects to dcmtk's receiver, and return what became of them."""
    folder.mkdir()
    command = [inside.STORESCP, *words, "-od", str(folder), "+xa", "-aet", "STORESCP"]
    receiver = subprocess.Popen([*command, str(inside.MINE)])
    patience.WAITS_S = ()
    try:
        inside.wait_for(inside.MINE)
        return sent(objects, f"STORESCP@127.0.0.1:{inside.MINE}", login=login)
    finally:
        receiver.terminate()
        receiver.wait()


def sent_nowhere(folder: Path):
    patience.WAITS_S = ()
    return sent(folder, "NOBODY@127.0.0.1:9")


class Cutting(Web):
    """Sends an object without its second half."""

    bad: Path

    def store(self, objects):
        whole = self.bad.read_bytes()
        half = len(whole) // 2
        self.bad.write_bytes(whole[:half])
        mixed = [replace(o, size=half) if o.path == self.bad else o for o in objects]
        return super().store(mixed)


def sent_with_one_that_is_cut(folder: Path, bad: Path):
    return sent(folder, kind=type("CuttingOne", (Cutting,), {"bad": bad}))


def sent_with_few_contexts(folder: Path):
    dimse.MOST_CONTEXTS = 2
    try:
        return sent(folder, inside.PEER)
    finally:
        dimse.MOST_CONTEXTS = 127


def fetched_by_dicom(into: Path, wish: Wish | None = None):
    """Fetch by C-FIND and C-MOVE."""
    with opened_spool(into) as spool:
        source = Archive(peer(inside.PEER), "MEDSCAN", Login(), 10, inside.MINE, spool.aside)
        return fetch(source, spool, wish or Wish())


def fetched_by_a_stranger(into: Path):
    """The same, under an AE title that Orthanc does not know."""
    patience.WAITS_S = ()
    with opened_spool(into) as spool:
        source = Archive(peer(inside.PEER), "STRANGER", Login(), 10, inside.MINE, spool.aside)
        return fetch(source, spool, Wish())
