#!/bin/sh
# dicomweb-client takes the half of an answer for a series when the connection ends early.
#
# Servers send a series as a multipart answer, often without its length, so that the end of the
# connection is the end of the answer; only the last boundary tells that all came. `retrieve_series`
# does not look for it. If the server stops, it returns the instances that came, the last one cut short
# or without pixels, as if the series had no more. Nothing is raised. A study that lacks its end has no
# gap by which to notice it.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2 and dicomweb-client 0.61.2, for three images of 8192
# bytes of pixels each, and the lengths of the pixels that came:
#
#     whole answer               [8192, 8192, 8192]
#     ends 3000 bytes too early  [8192, 8192, 5204]
#     ends within the second     [8192, 4477]
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pydicom==3.0.2 dicomweb-client==0.61.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from threading import Thread

import numpy
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def part(number):
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"1.2.3.1.{number}"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 64, 64, 1, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelData = numpy.zeros((64, 64), numpy.uint16).tobytes()
    stream = BytesIO()
    image.save_as(stream, enforce_file_format=True)
    return b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + stream.getvalue() + b"\r\n"


parts = [part(number) for number in (1, 2, 3)]
answer = b"".join(parts) + b"--edge--\r\n"
sent = len(answer)


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        self.send_response(200)
        kind = 'multipart/related; type="application/dicom"; boundary=edge'
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(answer[:sent])


server = HTTPServer(("127.0.0.1", 0), Server)
Thread(target=server.serve_forever, daemon=True).start()
client = DICOMwebClient(f"http://127.0.0.1:{server.server_port}")
seen = []
for name, sent in (
    ("whole answer", len(answer)),
    ("ends 3000 bytes too early", len(answer) - 3000),
    ("ends within the second", len(parts[0]) + 5000),
):
    images = client.retrieve_series("1.2.3", "1.2.3.1")
    seen.append([len(image.PixelData) for image in images])
    print(f"{name:25} ", seen[-1])
full = 64 * 64 * 2
cut = [seen[1][:2] == [full] * 2 and 0 < seen[1][2] < full, seen[2][0] == full > seen[2][1] > 0]
sys.exit(0 if seen[0] == [full] * 3 and all(cut) and len(seen[2]) == 2 else 1)
PYTHON
