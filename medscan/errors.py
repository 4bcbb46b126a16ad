"""Every error that medscan raises, as one tree.

    MedscanError                exit 1  the run failed
    ├── UsageError              exit 2  the command line asks for something that cannot work
    │   ├── DamagedError        exit 2  a results file is damaged; a scan sets it aside
    │   ├── WeightsError        exit 2  a backbone is missing, damaged or not what it claims
    │   └── DetectorError       exit 2  a detector file is missing, damaged or does not fit
    ├── LockedError             exit 75 another scan holds the results file
    ├── ClusterError            exit 75 no cluster answers, or it has no room for a scanner
    ├── PacsError               exit 1  a PACS refuses us, or does not answer as DICOM says
    │   ├── LoginError          exit 1  a PACS does not let medscan in
    │   └── UnavailableError    exit 75 a PACS does not answer, or its answer was cut short
    ├── FullError               exit 75 a folder for fetched studies holds as much as it may
    ├── DeviceError             exit 1  the GPU is lost, or too small for one slice
    ├── DiskError               exit 1  an output could not be written
    │   └── LedgerError         -       the ledger is damaged; the scan makes a new one
    ├── ExportError             exit 1  a stack or detector cannot be exported in the chosen format
    │   └── SourceError         exit 1  a source file of a result is missing or has changed
    └── FileError               bucket `failed`: one file of the archive cannot be used
        ├── UnreadableError     the operating system cannot read it
        ├── TruncatedError      it ends before its content does
        ├── CorruptError        its content contradicts itself
        ├── UnsupportedError    this installation cannot decode its encoding
        ├── TooLargeError       its declared size exceeds the limit
        ├── HeaderTooLargeError its header holds more than that of any image
        ├── DecoderError        its decoder died
        │   └── TimedOutError   reading it took too long
        └── OverflowedError     its score is not finite at the chosen precision

A message is one line that says what is wrong, where, and what to do. `FileError.reason` is a
value of `medscan.archive.Reason`.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_STATUSES = {
    0: "Success.",
    1: "Failure: the message says what could not be read or written, or what is wrong.",
    2: "Wrong usage: the message says what to change; nothing was written.",
    3: "Success, but not in every file, or worse than the last scan: standard error says how.",
    4: "A detector is not accepted, or a rule says to stop it: what is printed says why.",
    75: "Another process holds the file, there is no Ray cluster to scan on, a PACS does not "
    "answer, or the folder for fetched studies is full; try again later.",
    130: "Interrupted by SIGINT, such as Ctrl-C; a scan keeps the studies that it has finished.",
    143: "Terminated by SIGTERM; a scan keeps the studies that it has finished.",
}
"""What every exit status of medscan means."""


class MedscanError(Exception):
    """Base of all errors that medscan raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(MedscanError):
    """The command line is invalid, or a file that it names cannot be used."""

    exit_code = 2


class DamagedError(UsageError):
    """A results file has changed since it was written; the next scan sets it aside."""


class WeightsError(UsageError):
    """A backbone's weights are missing, damaged or not what they claim to be."""


class DetectorError(UsageError):
    """A detector file is missing, damaged or does not fit what it is used with."""


class LockedError(MedscanError):
    """Another scan holds the lock; try again later (EX_TEMPFAIL)."""

    exit_code = 75


class ClusterError(MedscanError):
    """No Ray cluster answers, or none of its nodes can scan; try again later (EX_TEMPFAIL)."""

    exit_code = 75


class PacsError(MedscanError):
    """A PACS refuses what is asked of it, or its answer is not what DICOM says."""


class LoginError(PacsError):
    """A PACS does not let medscan in with the login that it has."""


class UnavailableError(PacsError):
    """A PACS does not answer, or its answer was cut short; try again later (EX_TEMPFAIL)."""

    exit_code = 75


class FullError(MedscanError):
    """The folder for fetched studies holds as much as it may, or its disk as much as it can."""

    exit_code = 75


class DeviceError(MedscanError):
    """The device that scores is lost, or has no room for a single slice."""


class DiskError(MedscanError):
    """An output could not be written; earlier results are untouched."""


class LedgerError(DiskError):
    """The ledger is damaged; the scan renames it and makes a new one from the results."""


class ExportError(MedscanError):
    """A stack or a detector cannot be written in the chosen format; the rest is exported."""


class SourceError(ExportError):
    """The source files of a stack are not in the given archive, or have changed."""


class FileError(MedscanError):
    """One file of the archive cannot be used; the scan goes on without it."""

    reason: ClassVar[str] = "corrupt"


class UnreadableError(FileError):
    """The operating system cannot read the file."""

    reason = "unreadable"


class TruncatedError(FileError):
    """The file ends before its content does."""

    reason = "truncated"


class CorruptError(FileError):
    """The file's content contradicts itself."""

    reason = "corrupt"


class UnsupportedError(FileError):
    """The encoding of the file is one that this installation cannot decode."""

    reason = "unsupported-encoding"


class TooLargeError(FileError):
    """The file's declared size exceeds the limit."""

    reason = "too-large"


class HeaderTooLargeError(FileError):
    """The file's header, or one value of it, is longer or deeper than that of any image."""

    reason = "header-too-large"


class DecoderError(FileError):
    """The process that read the file died."""

    reason = "decoder-died"


class TimedOutError(DecoderError):
    """Reading the file took longer than it may."""

    reason = "timed-out"


class OverflowedError(FileError):
    """The score of a slice of the file is not finite."""

    reason = "overflowed"
