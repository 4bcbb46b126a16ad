"""Searching a DICOM application entity and having it send (DICOM PS3.4 C): C-FIND and C-MOVE.

For a PACS without DICOMweb. It sends to a port of this machine, under the AE title that it knows
medscan by, so that a receiver runs there for as long as it is asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pydicom.dataset import Dataset

from medscan.errors import UsageError
from medscan.pacs.address import Peer
from medscan.pacs.dimse import Node, query_of
from medscan.pacs.login import Login

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
ARRIVING = "arriving-"
"""Begins the names of folders that objects arrive in."""
CHUNK = 1 << 20
"""Bytes that are read at a time."""


class Archive(Node):
    """A DICOM application entity that answers queries, and sends what it is asked for.

    Parameters
    ----------
    peer, title, login, timeout_s
        See `Node`.
    port : int
        Of this machine, at which the peer knows `title`.
    scratch : Path or None
        Folder for what arrives, until it is taken; None: that of the system.
    """

    def __init__(
        self,
        peer: Peer,
        title: str,
        login: Login,
        timeout_s: float,
        port: int = 11112,
        scratch: Path | None = None,
    ) -> None:
        super().__init__(peer, title, login, timeout_s)
        self.port, self.scratch = port, scratch

    def studies(self, filters: Mapping[str, str], fields: Sequence[str] = ()) -> Iterator[Dataset]:
        """Yield what it says of studies. Raises as `medscan.pacs.Web.studies`."""
        keys = dict.fromkeys(("StudyInstanceUID", "StudyDate", "PatientID", *fields), "")
        return self._find("STUDY", "StudyInstanceUID", keys | dict(filters))

    def series(self, study: str, fields: Sequence[str] = ()) -> Iterator[Dataset]:
        """Yield what it says of the series of a study. Raises as `studies`."""
        asked = ("SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances", *fields)
        keys = dict.fromkeys(asked, "") | {"StudyInstanceUID": study}
        return self._find("SERIES", "SeriesInstanceUID", keys)

    def retrieve(self, study: str, series: str, instance: str = "") -> Iterator[Iterator[bytes]]:
        """Yield the objects of a series, or one of them, each once its file has come.

        What the peer says of how many it sent is not believed: the caller counts what came.

        Raises
        ------
        UnavailableError
            If it does not answer.
        PacsError
            If it refuses, such as for not knowing medscan's AE title.
        """
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        keys |= {"SOPInstanceUID": instance} if instance else {}
        query = query_of("IMAGE" if instance else "SERIES", keys)
        arrived: SimpleQueue[Path | None] = SimpleQueue()
        scratch = tempfile.TemporaryDirectory(
            prefix=ARRIVING, dir=self.scratch, ignore_cleanup_errors=True
        )
        with (
            scratch as folder,
            self._receiving(Path(folder), arrived),
            self._asked(MOVE) as association,
            ThreadPoolExecutor(1) as pool,
        ):
            responses = association.send_c_move(query, self._entity.ae_title, MOVE)
            moved = pool.submit(list, self._answers(responses))
            moved.add_done_callback(lambda _: arrived.put(None))
            try:
                while path := arrived.get():
                    yield _pieces(path)
                    path.unlink()
            finally:
                if not moved.done():  # no more is wanted: end it, and the wait for what it says
                    association.abort()
                    association.dimse.msg_queue.put((None, None))
            moved.result()

    @contextmanager
    def _receiving(self, folder: Path, arrived: SimpleQueue[Path | None]) -> Iterator[None]:
        """Write what is sent to medscan's port into a folder, and name each file that is whole."""
        from pynetdicom import (
            AE,
            ALL_TRANSFER_SYNTAXES,
            AllStoragePresentationContexts,
            evt,
        )

        entity = AE(ae_title=self._entity.ae_title)
        entity.require_called_aet = True
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)

        numbers = count()

        def keep(event: Any) -> int:
            path = folder / str(next(numbers))
            path.write_bytes(event.encoded_dataset())
            arrived.put(path)
            return 0

        try:
            server = entity.start_server(
                ("", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
            )
        except OSError as error:
            raise UsageError(f"port {self.port} is not free: {error.strerror}") from error
        try:
            yield
        finally:
            server.shutdown()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            yield piece
