"""A scan on Ray, and scans of shards, beside a local one: speed, and the memory of Ray's driver.

    python tests/benchmarks/cluster.py speed [--studies 48] [--slices 24] [--rounds 2]
    python tests/benchmarks/cluster.py memory [--studies 50 500 5000]

`speed` scans an archive with the shipped detector brain-flair: locally with one core; as two and as
four shards side by side, of a core each; and on one and on two Ray nodes of one core each. There is
no decode process (--workers 0), so that as many cores work as are counted. It prints the slices a
second from the first study to the last, without the start of the cluster and the loading of the
model, and the ratio to the local scan: the best of the rounds, in turn. `memory` scans studies of
one slice with a tiny model, each number in a process of its own, and prints the largest resident
set of the driver until the last study is done, its ratio to the first, and that with publishing,
where HDF5 caches up to 32 MiB of what it wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.options import scan_options

sys.path.insert(0, str(Path(__file__).parents[2]))

# Nothing heavy is imported up here: decode workers import this file too.

WAYS = {
    "local, one core": (1, 0),
    "2 shards": (2, 0),
    "4 shards": (4, 0),
    "Ray, 1 node": (1, 1),
    "Ray, 2 nodes": (1, 2),
}
"""Shards and nodes."""


def write(archive: Path, studies: int, slices: int) -> None:
    from tests import tiny

    for number in range(studies):
        volume = tiny.head_volume(number, slices=slices, side=128 if slices > 1 else 16)
        tiny.write_series(archive / f"{number:05d}", volume, study=f"1.{number}")


def options_of(detector_file: Path, archive: Path, out: Path, **more: object):
    from medscan import detector

    return scan_options(
        roots=(archive,),
        out=out,
        detectors=((detector_file, detector.read(detector_file)),),
        named=True,
        device="cpu",
        **more,
    )


def rate(detector_file: Path, archive: Path, share: str, address: str) -> None:
    """Print when the first study and the last was done, and slices between; in its own process."""
    from medscan.choices import Shard
    from medscan.cluster import RayEngine
    from medscan.scan import scan

    seen = []

    def watch(_done: int, _studies: int, slices: int, _failures: int) -> None:
        seen.append((time.monotonic(), slices))

    shard = Shard(*map(int, share.split("/"))) if share else None
    with tempfile.TemporaryDirectory() as folder:
        more = {"workers": 0, "batch_size": 8, "shard": shard}
        more["key_file"] = Path(folder) / "key"
        out = Path(folder) / "results.h5"
        options = options_of(detector_file, archive, out, **more)
        summary = scan(options, watch, engine=RayEngine(address) if address else None)
    assert not summary.failure
    begun = next(entry for entry in seen if entry[1])
    print(json.dumps([begun[0], seen[-1][0], seen[-1][1] - begun[1]]))


def speed(studies: int, slices: int, rounds: int) -> None:
    from medscan import detector

    best = dict.fromkeys(WAYS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        write(archive, studies, slices)
        words = ["rate", detector.find(Path("brain-flair")), archive]
        for name in list(WAYS) * rounds:
            best[name] = max(best[name], rate_of(words, *WAYS[name]))
    for name, found in best.items():
        ratio = found / best["local, one core"]
        print(f"{name:16} {found:7.1f} slices a second, {ratio:5.2f} times local")


def rate_of(words: list[object], shards: int, nodes: int) -> float:
    from ray.cluster_utils import Cluster

    cluster = Cluster() if nodes else None
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, include_dashboard=False)
    shares = [f"{number + 1}/{shards}" for number in range(shards)] if shards > 1 else [""]
    with ThreadPoolExecutor() as pool:
        address = cluster.address if cluster else ""
        told = pool.map(lambda share: called(*words, share, address), shares)
        begun, ended, slices = zip(*told, strict=True)
    if cluster:
        cluster.shutdown()
    return sum(slices) / (max(ended) - min(begun))


def peak(detector_file: Path, archive: Path) -> None:
    """Print MiB of the driver, until the last study and in all; in a process of its own."""
    from medscan.cluster import RayEngine
    from medscan.scan import scan

    seen = [0.0]

    def watch(*_: int) -> None:
        seen[0] = highest()

    with tempfile.TemporaryDirectory() as folder:
        options = options_of(detector_file, archive, Path(folder) / "results.h5")
        summary = scan(options, watch, engine=RayEngine(None))
    assert summary.scanned == summary.studies
    print(json.dumps([seen[0], highest()]))


def highest() -> float:
    """MiB that this process has had at most; what it was forked from does not count."""
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) / 1024


def memory(counts: list[int]) -> None:
    from tests.benchmarks.nights import write_detector

    with tempfile.TemporaryDirectory() as folder:
        scratch, first = Path(folder), 0.0
        write_detector(scratch)
        for studies in counts:
            write(scratch / f"archive{studies}", studies, slices=1)
            words = (scratch / "tiny-flair.safetensors", scratch / f"archive{studies}")
            scanning, whole = called("peak", *words)
            first = first or scanning
            told = f"{scanning:6.1f} MiB to the last study, {scanning / first:5.2f} times"
            print(f"{studies:6} studies: {told}; {whole:6.1f} MiB with publishing")


def called(*words: object) -> Any:
    """What this script prints in a process of its own, whose model has one core."""
    command = [sys.executable, __file__, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("speed")
    one.add_argument("--studies", type=int, default=48)
    one.add_argument("--slices", type=int, default=24)
    one.add_argument("--rounds", type=int, default=2)
    other = what.add_parser("memory")
    other.add_argument("--studies", type=int, nargs="+", default=[50, 500, 5000])
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.studies, given.slices, given.rounds)
    else:
        memory(given.studies)


if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    if sys.argv[1:2] == ["rate"]:
        rate(Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
    elif sys.argv[1:2] == ["peak"]:
        peak(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
