#!/bin/sh
# dicomweb-client sends an empty request when it repeats a store of more than a megabyte, and reports
# success.
#
# `store_instances` repeats a request that is answered by 503 and the like. Up to 1,000,000 bytes it
# sends the same again. More is sent in chunks, which the first try has used up: the repetition has no
# body at all, and what a server answers to that is taken for the answer to the whole. A study is so
# lost on its way to a busy PACS unless the caller counts the instances that the answer refers to.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2 and dicomweb-client 0.61.2, against a server that
# answers 503 and then 200; bytes that came in each request:
#
#     one image of 512 x 512 pixels:  524887, then 524887
#     two images of 512 x 512 pixels: 1049732, then 0, no error
#
# `set_http_retry_params(False)` avoids it. Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pydicom==3.0.2 dicomweb-client==0.61.2
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy
import pydicom
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

came = []


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_POST(self):
        received = 0
        if "Content-Length" in self.headers:
            received = len(self.rfile.read(int(self.headers["Content-Length"])))
        else:
            while size := int(self.rfile.readline(), 16):
                received += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        came.append(received)
        self.send_response(503 if len(came) == 1 else 200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def image(number):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"1.2.3.1.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.Rows, made.Columns, made.SamplesPerPixel, made.PixelRepresentation = 512, 512, 1, 0
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelData = numpy.zeros((512, 512), numpy.uint16).tobytes()
    path = f"{sys.argv[1]}/{number}.dcm"
    made.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


server = HTTPServer(("127.0.0.1", 0), Server)
Thread(target=server.serve_forever, daemon=True).start()
client = DICOMwebClient(f"http://127.0.0.1:{server.server_port}")
seen = []
for name, images in (("one image", [image(1)]), ("two images", [image(1), image(2)])):
    came.clear()
    client.store_instances(images)
    print(f"{name + ' of 512 x 512 pixels:':31} {came[0]}, then {came[1]}", end="")
    print("" if came[1] else ", no error")
    seen.append(tuple(came))
whole, lost = seen[0][0] == seen[0][1] > 500_000, seen[1][0] > 1_000_000 and seen[1][1] == 0
sys.exit(0 if whole and lost else 1)
PYTHON
