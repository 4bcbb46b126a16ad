"""Scans on Ray and in shards, compared with a local one: speed, and memory of Ray's driver.

    python tests/benchmarks/cluster.py speed [--studies 48] [--slices 24] [--rounds 2]
    python tests/benchmarks/cluster.py memory [--studies 50 500 5000]

`speed` scans an archive with the shipped detector brain-flair: locally with one core; as two and as
four shards in parallel, with a core each; and on one and on two Ray nodes with a core each. Without
decode processes (--workers 0) no further cores work. It prints slices a second from the first study
to the last, without starting the cluster and loading the model, and the ratio to the local scan:
the best of alternating rounds. `memory` scans studies of one slice with a tiny model, each number
of studies in its own process. It prints the driver's largest resident set up to the last study, its
ratio to that of the first number, and the largest one including publishing, where HDF5 caches up to
32 MiB of its output.
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

# Heavy imports are inside the functions, because decode workers import this file too.

WAYS = {
    "local, one core": (1, 0),
    "2 shards": (2, 0),
    "4 shards": (4, 0),
    "Ray, 1 node": (1, 1),
    "Ray, 2 nodes": (1, 2),
}
"""Numbers of shards and nodes."""


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


def rate(detector_file: Path, archive: Path, shard_text: str, address: str) -> None:
    """Print times of the first and the last finished study, and slices between; in a process."""
    from medscan.choices import Shard
    from medscan.cluster import RayEngine
    from medscan.scanning import scan

    progress = []

    def watch(_done: int, _studies: int, slices: int, _failures: int) -> None:
        progress.append((time.monotonic(), slices))

    shard = Shard(*map(int, shard_text.split("/"))) if shard_text else None
    with tempfile.TemporaryDirectory() as folder:
        more = {"workers": 0, "batch_size": 8, "shard": shard}
        more["key_file"] = Path(folder) / "key"
        out = Path(folder) / "results.h5"
        options = options_of(detector_file, archive, out, **more)
        summary = scan(options, watch, engine=RayEngine(address) if address else None)
    assert not summary.failure
    first, last = next(entry for entry in progress if entry[1]), progress[-1]
    print(json.dumps([first[0], last[0], last[1] - first[1]]))


def speed(studies: int, slices: int, rounds: int) -> None:
    from medscan import detector

    best = dict.fromkeys(WAYS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        write(archive, studies, slices)
        words = ["rate", detector.find(Path("brain-flair")), archive]
        for name in list(WAYS) * rounds:
            best[name] = max(best[name], rate_of(words, *WAYS[name]))
    for name, slices_per_second in best.items():
        ratio = slices_per_second / best["local, one core"]
        print(f"{name:16} {slices_per_second:7.1f} slices a second, {ratio:5.2f} times local")


def rate_of(words: list[object], shards: int, nodes: int) -> float:
    from ray.cluster_utils import Cluster

    cluster = Cluster() if nodes else None
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, include_dashboard=False)
    texts = [f"{number + 1}/{shards}" for number in range(shards)] if shards > 1 else [""]
    with ThreadPoolExecutor() as pool:
        address = cluster.address if cluster else ""
        results = pool.map(lambda text: run_in_process(*words, text, address), texts)
        begun, ended, slices = zip(*results, strict=True)
    if cluster:
        cluster.shutdown()
    return sum(slices) / (max(ended) - min(begun))


def peak(detector_file: Path, archive: Path) -> None:
    """Print peak MiB of the driver, up to the last study and in total; in its own process."""
    from medscan.cluster import RayEngine
    from medscan.scanning import scan

    while_scanning = [0.0]

    def watch(*_: int) -> None:
        while_scanning[0] = peak_mib()

    with tempfile.TemporaryDirectory() as folder:
        options = options_of(detector_file, archive, Path(folder) / "results.h5")
        summary = scan(options, watch, engine=RayEngine(None))
    assert summary.scanned == summary.studies
    print(json.dumps([while_scanning[0], peak_mib()]))


def peak_mib() -> float:
    """Largest resident set of this process in MiB, without that of the process it came from."""
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
            scanning, total = run_in_process("peak", *words)
            first = first or scanning
            peaks = f"{scanning:6.1f} MiB up to the last study, {scanning / first:5.2f} times"
            print(f"{studies:6} studies: {peaks}; {total:6.1f} MiB with publishing")


def run_in_process(*words: object) -> Any:
    """Run this script in a process whose model has one core; return the JSON that it prints."""
    command = [sys.executable, __file__, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    speed_parser = commands.add_parser("speed")
    speed_parser.add_argument("--studies", type=int, default=48)
    speed_parser.add_argument("--slices", type=int, default=24)
    speed_parser.add_argument("--rounds", type=int, default=2)
    memory_parser = commands.add_parser("memory")
    memory_parser.add_argument("--studies", type=int, nargs="+", default=[50, 500, 5000])
    args = parser.parse_args()
    if args.command == "speed":
        speed(args.studies, args.slices, args.rounds)
    else:
        memory(args.studies)


if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    if sys.argv[1:2] == ["rate"]:
        rate(Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
    elif sys.argv[1:2] == ["peak"]:
        peak(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
