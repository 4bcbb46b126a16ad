"""A small application entity on this machine, for what an Orthanc cannot be made to do."""

from __future__ import annotations

import socket
import time

import pydicom
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from medscan.pacs.dimse import FIND
from medscan.pacs.query import MOVE

LEVELS = {
    "STUDY": ("StudyInstanceUID", "PatientID"),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
"""What it says of each match of a query."""


class Entity:
    """The application entity; use it as a context.

    Attributes that a test sets:

    - `objects`: data sets that it has; `answers_queries`: whether it does.
    - `status`: of its answers to queries, in place of matches.
    - `aborts`: whether it ends an association in which it is asked something; `stall_s`: seconds
      before each answer.
    - `before_each`: what it calls before it sends an object that it is asked for.
    - `port`: that at which it knows medscan; `asked`: the levels that it was asked at; `sent`: the
      objects that it began to send.
    """

    def __init__(self):
        self.objects, self.answers_queries = [], True
        self.status, self.aborts, self.stall_s = None, False, 0.0
        self.before_each, self.port = lambda: None, free_port()
        self.asked, self.sent = [], []

    def add(self, folder):
        """Have the DICOM files of a folder."""
        self.objects += [pydicom.dcmread(p) for p in sorted(folder.rglob("*")) if p.is_file()]

    @property
    def address(self):
        return f"ENTITY@127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        entity = AE(ae_title="ENTITY")
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        if self.answers_queries:
            entity.add_supported_context(FIND)
            entity.add_supported_context(MOVE)
        handlers = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_MOVE, self._move),
            (evt.EVT_C_STORE, self._store),
        ]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_):
        answering = self.server.active_associations
        self.server.shutdown()
        for association in answering:
            association.join(10)

    def _matching(self, query):
        """What it has that a query names."""
        keys = [k for k in LEVELS["IMAGE"] if query.get(k)]
        return [ds for ds in self.objects if all(ds[k].value == query[k].value for k in keys)]

    def _begin(self, event):
        self.asked.append(event.identifier.QueryRetrieveLevel)
        time.sleep(self.stall_s)
        if self.aborts:
            event.assoc.abort()

    def _find(self, event):
        self._begin(event)
        if self.status is not None:
            yield self.status, None
            return
        told = LEVELS[event.identifier.QueryRetrieveLevel]
        for values in {tuple(ds[k].value for k in told) for ds in self._matching(event.identifier)}:
            match = pydicom.Dataset()
            for keyword, value in zip(told, values, strict=True):
                setattr(match, keyword, value)
            yield 0xFF00, match

    def _move(self, event):
        self._begin(event)
        found = self._matching(event.identifier)
        kinds = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in found}
        contexts = [build_context(*kind) for kind in kinds]
        yield "127.0.0.1", self.port, {"contexts": contexts}
        yield len(found)
        for ds in found:
            self.before_each()
            self.sent.append(ds)
            yield 0xFF00, ds

    def _store(self, event):
        ds = event.dataset
        ds.file_meta = event.file_meta
        self.objects.append(ds)
        return 0


def free_port():
    """A port that nothing listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
