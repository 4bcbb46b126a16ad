"""Time and memory of walk, index, plan, shard and ledger on a simulated archive.

    python tests/benchmarks/million.py [--studies 1000000] [--files 1] [--shards 16] [--folder DIR]

Makes an archive of empty files, a thousand per folder, and a ledger with a synthetic header for
each, so that no file is opened and nothing is decoded. Then it measures, each in its own process:
all studies; one shard of them; a night on which nothing has changed; looking up studies in a ledger
that has as many as there are files. Prints for each stage its wall and CPU seconds, and the peak
memory of the process up to then, beyond that after importing, in total and per file of the archive.
Files and ledgers stay in --folder, and are used again the next time.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medscan import detector
from medscan.archive import ArchiveFile, Header, Kind, Pseudonyms, from_json, to_json
from medscan.archive.header import Layer
from medscan.choices import Shard
from medscan.options import ScanOptions
from medscan.planning.accounting import account
from medscan.planning.ledger import Ledger
from medscan.planning.plan import Task, due_tasks
from medscan.planning.survey import LedgerHeaderCache, scan_pseudonyms, survey_archive, walk
from medscan.results import Mark, Work
from medscan.scanning.unchanged import signature
from tests.options import scan_options

KEY = bytes(32)
FOLDER = 1000
"""Files in a folder, and rows put into the ledger at a time."""
LOOKED_UP = 20_000


def options_of(folder: Path, shard: Shard | None = None) -> ScanOptions:
    path = detector.find(Path("brain-flair"))
    return scan_options(
        roots=(folder / "archive",),
        out=folder / "results.h5",
        detectors=((path, detector.read(path)),),
        named=False,
        ledger=folder / "headers.ledger",
        key_file=folder / "key",
        shard=shard,
    )


def pseudonyms_of(options: ScanOptions) -> Pseudonyms:
    return scan_pseudonyms(options.inputs, options.privacy, KEY)


# --- the archive -------------------------------------------------------------------------------


def write(folder: Path, studies: int, files: int) -> None:
    """Make empty files, and a ledger of the headers that a scan would have read."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger, options = Ledger(folder / "headers.ledger"), options_of(folder)
    cache = LedgerHeaderCache(ledger, pseudonyms_of(options))
    root = (folder / "archive").resolve()
    for first in range(0, studies * files, FOLDER):
        place = root / f"{first // FOLDER // FOLDER:03d}" / f"{first // FOLDER:06d}"
        place.mkdir(parents=True)
        made = []
        for number in range(first, min(first + FOLDER, studies * files)):
            path = place / f"IM{number:08d}.dcm"
            path.touch()
            file = ArchiveFile(str(path.relative_to(root)), root, 0, path.stat().st_mtime_ns)
            made.append((file, header(file, *divmod(number, files))))
        cache.put((file, text) for file, text in made)
    ledger.commit()
    ledger.close()


def header(file: ArchiveFile, study: int, slice_: int) -> str:
    """Ledger entry of a slice of a brain."""
    uid = f"1.2.826.0.1.3680043.8.498.{study:039d}"
    layer = Layer(512, 512, (-120.0, -110.0, 2.5 * slice_), (1.0, 0, 0, 0, 1.0, 0), (0.5, 0.5))
    entry = Header(
        file,
        Kind.DICOM,
        layers=(layer,),
        study_uid=uid,
        series_uid=f"{uid[:-2]}.1",
        sop_instance_uid=f"{uid[:-6]}.{slice_}",
        date=f"20{study % 25:02d}0101",
        patient_id=f"{study:016x}",
        facts={
            "Modality": "MR",
            "BodyPartExamined": "BRAIN",
            "SeriesDescription": "FLAIR",
            "ImageType": "ORIGINAL\\PRIMARY\\M\\ND",
            "ScanningSequence": "SE\\IR",
            "SequenceVariant": "SK\\SP",
            "MRAcquisitionType": "2D",
            "EchoTime": "94",
            "InversionTime": "2500",
            "RepetitionTime": "9000",
        },
        series_number=3,
        instance_number=slice_,
    )
    text = json.dumps(to_json(entry))
    assert from_json(file, json.loads(text)) == entry
    return text


# --- what is measured --------------------------------------------------------------------------


class Stages:
    """Seconds and peak memory of one stage after the other."""

    def __init__(self, items: int) -> None:
        self.items, self.before = items, peak()

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        started, spent = time.perf_counter(), time.process_time()
        made = work()
        took, cpu = time.perf_counter() - started, time.process_time() - spent
        most = peak() - self.before
        print(
            f"  {name:20} {took:8.1f} s {cpu:8.1f} s of processor, "
            f"{self.items / max(cpu, 1e-6):8.0f} files a second of it   "
            f"{most / 2**30:6.2f} GiB {most / self.items:7.0f} bytes a file",
            flush=True,
        )
        return made


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def planned(folder: Path, items: int, shard: str) -> None:
    """What a first scan does before and after its studies."""
    options = options_of(folder, Shard(*map(int, shard.split("/"))) if shard else None)
    pseudonyms = pseudonyms_of(options)
    headers, ledger = Ledger(options.outputs.ledger_path, read_only=True), Ledger(None)
    stages = Stages(items)
    walked = stages.run("walk", lambda: walk(options.inputs, options.outputs))
    surveyed = stages.run(
        "index and plan",
        lambda: survey_archive(
            options.inputs,
            pseudonyms,
            options.identity,
            walked=walked,
            cache=headers,
            find_work=ledger.work,
        ),
    )
    plan, catalogue = surveyed.plan, surveyed.catalogue
    stages.run("what is due", lambda: due_tasks(plan, ledger, options))
    stages.run(
        "account", lambda: account(catalogue, plan, ledger.work, Task.expected_outcomes, pseudonyms)
    )
    print(f"  {len(plan)} studies")


def unchanged(folder: Path, items: int, _: str) -> None:
    """A night on which nothing has changed."""
    options = options_of(folder)
    pseudonyms, stages = pseudonyms_of(options), Stages(items)
    walked = stages.run("walk", lambda: walk(options.inputs, options.outputs))
    stages.run("signature", lambda: signature(options, walked, pseudonyms))


def looked_up(folder: Path, items: int, _: str) -> None:
    """Look up studies in a ledger that has as many as there are files."""
    path, stages = folder / "work.ledger", Stages(items)
    if not path.exists():
        stages.run("put all into a ledger", lambda: fill(path, items))
    ledger = Ledger(path)
    chosen = [key(n) for n in random.Random(1).choices(range(items), k=LOOKED_UP)]
    for name in ("work", "trouble", "mark"):
        started, spent = time.perf_counter(), time.process_time()
        for one in chosen:
            getattr(ledger, name)(one)
        took, cpu = time.perf_counter() - started, time.process_time() - spent
        each, used = (1e6 * s / LOOKED_UP for s in (took, cpu))
        print(f"  {name:20} {each:8.1f} microseconds a lookup, {used:.1f} of processor")
    stages.run("below", lambda: ledger.below("r" * 16))
    stages.run("counts", ledger.counts)


def fill(path: Path, items: int) -> None:
    """A ledger of studies of one file, of which every hundredth had failed."""
    ledger = Ledger(path)
    row = ["ab" * 6 + "/" + "cd" * 6, "scanned", ""]
    work = Work("c" * 64, "m" * 64, "r" * 16, "t" * 200, [row])
    ledger.restore(((key(n), work, Mark()) for n in range(items)), "stamp")
    troubles = ((key(n),) for n in range(0, items, 100))
    ledger._database.executemany("INSERT INTO trouble VALUES (?, 'c', 1, 'it hung')", troubles)
    ledger.commit()
    ledger.close()


def key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


MEASURES = {
    "all studies": planned,
    "one share": planned,
    "nothing has changed": unchanged,
    "ledger of all": looked_up,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1, help="files of a study")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument(
        "--folder", type=Path, help="folder of the files; made if missing, and kept"
    )
    parser.add_argument("--measure", choices=MEASURES, help="only this, in this process")
    args = parser.parse_args()
    items = args.studies * args.files
    if args.measure:
        share = f"1/{args.shards}" if args.measure == "one share" else ""
        MEASURES[args.measure](args.folder, items, share)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or Path(made)
        if not (folder / "archive").exists():
            write(folder, args.studies, args.files)
        for name in MEASURES:
            words = [*sys.argv[1:], "--folder", str(folder), "--measure", name]
            print(
                f"{name} ({args.studies} studies, {items} files, {args.shards} shards)", flush=True
            )
            subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
