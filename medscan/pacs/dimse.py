"""A DICOM application entity (DICOM PS3.4 B, C): storing objects, and what it has already.

Objects go as the bytes of their files. Each SOP class is offered with each transfer syntax that is
really there, in a context of its own: with several in one, the peer chooses one for all.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from medscan.archive import text
from medscan.errors import LoginError, PacsError, UnavailableError
from medscan.pacs.address import Peer
from medscan.pacs.answer import Answer, reason
from medscan.pacs.libraries import need
from medscan.pacs.login import Login
from medscan.pacs.objects import DicomObject
from medscan.text import is_uid

if TYPE_CHECKING:
    from pynetdicom.association import Association

MOST_CONTEXTS = 127
"""Contexts of an association that objects may have: PS3.8 allows 128, and one is for queries."""
NOT_SUPPORTED = 0x0122
"""Status of a SOP class that a peer does not take or answer."""
OUT_OF_RESOURCES = 0xA7
"""First byte of statuses after which the same request may succeed later."""
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PENDING = (0xFF00, 0xFF01)


class NoQueriesError(PacsError):
    """An application entity answers no queries, as a router does not."""


class Node:
    """A DICOM application entity, which may answer queries or not.

    Parameters
    ----------
    peer : Peer
    title : str
        AE title of medscan.
    login : Login
        Its certificates, if the peer speaks TLS: a CA or a certificate means that it does.
    timeout_s : float
        Longest wait for an answer.
    """

    answers_each = True
    """It answers for each object, once that is stored (DICOM PS3.4 B.2.3)."""

    def __init__(self, peer: Peer, title: str, login: Login, timeout_s: float = 60.0) -> None:
        need("pynetdicom")
        from pynetdicom import AE, _config

        _config.STORE_SEND_CHUNKED_DATASET = True  # the bytes of the file, a piece at a time
        self.peer = peer
        self._entity = AE(ae_title=title)
        self._entity.acse_timeout = self._entity.network_timeout = timeout_s
        self._entity.dimse_timeout = self._entity.connection_timeout = timeout_s
        self._tls = _tls(login, peer.name)
        self._aborted = False

    def close(self) -> None:
        """Nothing is open between calls."""

    # --- search -----------------------------------------------------------------------------------

    def instances(self, study: str, series: str) -> list[str]:
        """Return the UIDs of the instances of a series.

        Raises
        ------
        UnavailableError
            If it does not answer, or cannot now.
        PacsError
            If it refuses, such as for not knowing medscan's AE title.
        """
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": ""}
        return [text(one, "SOPInstanceUID") for one in self._find("IMAGE", "SOPInstanceUID", keys)]

    def _find(self, level: str, uid: str, keys: Mapping[str, str]) -> Iterator[Dataset]:
        """Yield what it says of each thing that matches, once."""
        found: dict[str, Dataset] = {}
        for match in self._matches(level, keys):
            if is_uid(text(match, uid)):
                found.setdefault(text(match, uid), match)
        yield from found.values()

    def _matches(self, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        with self._asked(FIND) as association:
            matches = self._answers(association.send_c_find(query_of(level, keys), FIND))
            return [match for match in matches if match is not None]

    @contextmanager
    def _asked(self, model: str) -> Iterator[Association]:
        from pynetdicom.presentation import build_context

        with self._associated([build_context(model)]) as association:
            if association is None or not association.accepted_contexts:
                raise NoQueriesError(f"{self.peer.host} answers no queries of medscan")
            yield association

    def _answers(
        self, responses: Iterable[tuple[Dataset, Dataset | None]]
    ) -> Iterator[Dataset | None]:
        """Yield what comes with each response, as long as all is well or a part of it failed."""
        host, answered = self.peer.host, False
        for status, match in responses:
            code = status.get("Status")
            if code is None and self._aborted and not answered:
                asked = f"does it know the AE title {self._entity.ae_title} (--aet)?"
                raise PacsError(f"{host} ended the query without an answer: {asked}")
            if code is None:
                raise UnavailableError(f"{host} does not answer")
            if code == NOT_SUPPORTED:
                raise NoQueriesError(f"{host} answers no queries of medscan: {reason(code)}")
            if code >> 8 == OUT_OF_RESOURCES:
                raise UnavailableError(f"{host} cannot answer now: {reason(code)}")
            if code and code not in PENDING and code >> 12 != 0xB:
                raise PacsError(f"{host} refuses what it is asked: {reason(code)}")
            answered = True
            yield match

    # --- store ------------------------------------------------------------------------------------

    def patients(self, study: str) -> set[str] | None:
        """Return the PatientIDs that it has for a study; None if it answers no queries.

        Raises as `instances`.
        """
        keys = {"StudyInstanceUID": study, "PatientID": ""}
        try:
            found = self._matches("STUDY", keys)
        except NoQueriesError:
            return None
        return {text(one, "PatientID") for one in found if text(one, "StudyInstanceUID") == study}

    def holds(self, study: str, series: str) -> set[str] | None:
        """Return the instances that it has of a series; None if it answers no queries.

        Raises as `instances`.
        """
        try:
            return set(self.instances(study, series))
        except NoQueriesError:
            return None

    def has_same(self, one: DicomObject) -> bool:  # noqa: ARG002 - as of `Web`
        """True: a query tells UIDs, and that of an object is derived from all that it holds."""
        return True

    def store(self, objects: Sequence[DicomObject]) -> Answer:
        """Send objects, and return what it says of each; those that it does not are not in it.

        Raises
        ------
        UnavailableError
            If it does not answer for any of them.
        """
        from pynetdicom.presentation import build_context

        answer, left = Answer(), list(objects)
        while left:
            pairs = list(dict.fromkeys((one.sop_class, one.syntax) for one in left))
            pairs = list(islice(pairs, MOST_CONTEXTS))
            contexts = [build_context(UID(a), UID(syntax)) for a, syntax in pairs]
            now = [one for one in left if (one.sop_class, one.syntax) in pairs]
            left = [one for one in left if (one.sop_class, one.syntax) not in pairs]
            with self._associated(contexts) as association:
                for one in now:
                    self._store(association, one, answer)
        return answer

    def _store(self, association: Association | None, one: DicomObject, answer: Answer) -> None:
        accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in (association.accepted_contexts if association else ())
        }
        if association is None or (one.sop_class, one.syntax) not in accepted:
            answer.failed[one.instance] = NOT_SUPPORTED
            return
        if not association.is_established:
            return
        code = association.send_c_store(one.path).get("Status")
        if code is None:  # it went away, or sent something else
            return
        kept = code == 0 or code >> 12 == 0xB
        (answer.referenced if kept else answer.failed)[one.instance] = code

    @contextmanager
    def _associated(self, contexts: Sequence[Any]) -> Iterator[Association | None]:
        """An association; None if the peer accepts nothing of what is offered."""
        from pynetdicom import evt

        peer, self._aborted = self.peer, False
        association = self._entity.associate(
            peer.name,
            peer.port,
            list(contexts),
            ae_title=peer.title,
            evt_handlers=[(evt.EVT_PDU_RECV, self._note_abort)],
            tls_args=self._tls,
        )
        if association.is_rejected:
            raise LoginError(f"{peer.host} refuses associations with {self._entity.ae_title}")
        if not association.is_established and not association.rejected_contexts:
            raise UnavailableError(f"{peer.host} does not answer")
        try:
            yield association if association.is_established else None
        finally:
            if association.is_established:
                association.release()

    def _note_abort(self, event: Any) -> None:
        """Note that the peer ends the association, which is not the same as going away."""
        from pynetdicom.pdu import A_ABORT_RQ

        self._aborted = self._aborted or isinstance(event.pdu, A_ABORT_RQ)


def query_of(level: str, keys: Mapping[str, str]) -> Dataset:
    """Return what a query at a level asks: keys to match, empty ones to be told."""
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _tls(login: Login, host: str) -> tuple[ssl.SSLContext, str] | None:
    """What TLS takes; None without a CA or a certificate."""
    if not (login.ca or login.certificate):
        return None
    context = ssl.create_default_context(cafile=login.ca or None)
    if login.certificate:
        context.load_cert_chain(login.certificate, login.key or None)
    return context, host
