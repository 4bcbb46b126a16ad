"""A small DICOMweb service on this machine, for what an Orthanc cannot be made to do."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "a-boundary"


class StandIn:
    """The service; use it as a context.

    Attributes that a test sets:

    - `objects`: bytes by (study, series, instance); `more`: elements of search results by UID.
    - `ignores`: what of "filters", "offset", "limit" it ignores; `page`: most that it lists;
      `listing`: what it answers in place of any list.
    - `cut`: bytes of an answer after which the connection ends, for each retrieval in turn.
    - `left_out`: instances that a retrieval of their series lacks; `refused`: those that it has
      no answer for.
    - `status`: statuses of the first answers; `stall_s`: seconds before each answer.
    - `answers`: (status, content type, body) of the answers to what is stored, in turn.
    - `asked`: the lines of the requests; `stored`: bodies.
    """

    def __init__(self):
        self.objects, self.more = {}, {}
        self.ignores, self.page, self.listing = set(), 1000, None
        self.cut, self.left_out, self.refused = [], set(), set()
        self.status, self.stall_s, self.answers = [], 0.0, []
        self.asked, self.heads, self.stored = [], [], []

    def add(self, folder):
        """Hold the DICOM files of a folder."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.put(path.read_bytes())

    def put(self, data):
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), stop_before_pixels=True)
        uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
        self.objects[uids] = data
        for uid in uids:
            self.more.setdefault(str(uid), {})
        elements = self.more[uids[0]], self.more[uids[1]]
        for owner, keywords in zip(
            elements,
            (("StudyDate", "PatientID"), ("Modality", "SeriesDescription", "BodyPartExamined")),
            strict=True,
        ):
            for keyword in keywords:
                if keyword in ds:
                    owner[keyword] = ds[keyword].value

    def store(self, body):
        """Keep what it is sent: nothing, unless a test says otherwise."""

    def answer(self, given):
        """The objects of a series, or one, as a multipart message."""
        found = {u: data for u, data in self.objects.items() if list(u[: len(given)]) == given}
        kept = [d for u, d in found.items() if len(given) == 3 or u[2] not in self.left_out]
        mark = f"--{BOUNDARY}".encode()
        head = mark + b"\r\nContent-Type: application/dicom\r\n\r\n"
        return b"".join(head + data + b"\r\n" for data in kept) + mark + b"--\r\n"

    @property
    def url(self):
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.server.server_address[1]}/dicom-web"

    tls = None
    """An `ssl.SSLContext`, if it speaks TLS."""

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn

    def log_message(self, *_):
        pass

    def do_GET(self):
        me, parts = self.stand_in, urlsplit(self.path)
        if self._begin():
            return
        path = parts.path.split("/")[2:]  # studies, UID, series, UID, instances, UID
        given, query = path[1::2], {k: v[0] for k, v in parse_qs(parts.query).items()}
        if "multipart" in self.headers["Accept"]:
            self._objects(given)
            return
        level = len(path) // 2
        found = sorted({uids[: level + 1] for uids in me.objects if list(uids[:level]) == given})
        if "filters" not in me.ignores:
            found = [uids for uids in found if self._matches(uids[-1], query)]
        first = 0 if "offset" in me.ignores else int(query.get("offset", 0))
        most = me.page if "limit" in me.ignores else min(me.page, int(query.get("limit", 1000)))
        page = json.dumps([self._listed(uids) for uids in found[first:][:most]]).encode()
        self._send(200, page if me.listing is None else me.listing)

    def do_POST(self):
        me = self.stand_in
        left = int(self.headers.get("Content-Length", 0))
        if me.cut:
            self.rfile.read(min(left, me.cut.pop(0)))
            self.asked_and_gone()
            return
        body = self.rfile.read(left)
        if self._begin():
            return
        me.stored.append(body)
        me.store(body)
        status, kind, answer = me.answers.pop(0)
        self._send(status, answer, kind)

    def asked_and_gone(self):
        self.stand_in.asked.append(f"{self.command} {self.path}")
        self.close_connection = True

    def _begin(self):
        """Note the request, and give the answer that is set for it, if one is."""
        me = self.stand_in
        me.asked.append(f"{self.command} {self.path}")
        me.heads.append(dict(self.headers))
        time.sleep(me.stall_s)
        if me.status and (status := me.status.pop(0)) != 200:
            self._send(status, b"", location="http://127.0.0.1:1/")
            return True
        return False

    def _matches(self, uid, query):
        known = self.stand_in.more[uid]
        first, dash, last = query.get("StudyDate", "").partition("-")
        date = known.get("StudyDate", "")
        return not dash or (first <= date and (not last or date <= last))

    def _listed(self, uids):
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        ds = pydicom.Dataset()
        for name, uid in zip(names, uids, strict=False):
            setattr(ds, name, uid)
        for keyword, value in self.stand_in.more[uids[-1]].items():
            setattr(ds, keyword, value)
        ds.RetrieveURL = "http://127.0.0.1:1/elsewhere"
        return ds.to_json_dict()

    def _objects(self, given):
        me = self.stand_in
        if len(given) == 3 and given[2] in me.refused:
            self._send(500, b"")
            return
        body = me.answer(given)
        cut = me.cut.pop(0) if me.cut else len(body)
        self.send_response(200)
        kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = True

    def _send(self, status, body, kind="application/dicom+json", location=""):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)
