"""Cost of writing a report of thousands of studies, and of opening it in a browser.

    python tests/benchmarks/report_size.py [--studies 3000] [--rounds 3] [--keep FOLDER]

Writes a results file of copies of a few phantom studies, and from it the report folder and the
single page. Prints CPU time per study, also as a ratio to reading all studies from the file once.

Then, unless --rounds is 0, it opens in a fresh browser each (Chromium on PATH): an empty page, the
index of 3 studies, the index of all, the single page of all. Prints seconds from the request to the
last rendered row, the best of the rounds, and the proportional set size of all the browser's
processes; each also as a ratio to the index of 3 studies.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from medscan import results
from medscan.report import TABLES, write_csv, write_html, write_report
from tests.edited import edited
from tests.report import make
from tests.report.conftest import CHROMIUM


def results_of(folder: Path, studies: int) -> results.Results:
    """Write a results file of this many studies with different scores."""
    written = make.results(folder, make.few_studies()[:3], name=f"{studies}.h5")
    with edited(written.path) as file:
        group = file["studies"]
        for number in range(studies):
            original = group[("aaa", "bbb", "ccc")[number % 3]]
            file.copy(original, group, name=f"{number:016x}")
            copy = group[f"{number:016x}"]
            copy.attrs["path"] = f"site/2026/11/study{number:05d}"
            copy.attrs["score"] = original.attrs["score"] * (1 - number / studies / 2)
        for key in ("aaa", "bbb", "ccc"):
            del group[key]
    return written


def costs(what: str, studies: int, reference: float, do: Callable[..., Any], *given: Any) -> float:
    """CPU milliseconds per study; printed with the ratio to `reference`."""
    started = time.process_time()
    do(*given)
    spent = 1e3 * (time.process_time() - started) / studies
    print(f"{what:34s} {spent:8.2f} ms a study ({spent / (reference or spent):5.2f})")
    return spent


def read(file: results.Results) -> None:
    """Read every study completely."""
    for _ in file.studies():
        pass


def write_tables(file: results.Results, folder: Path) -> None:
    for table in TABLES:
        write_csv([file], folder / f"{table}.csv", table)


def opened(launch: Callable[[], Browser], address: str) -> tuple[float, float]:
    """Seconds until the page is rendered, and MiB of the browser's processes."""
    browser = launch()
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    started = time.perf_counter()
    page.goto(address)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    seconds = time.perf_counter() - started
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    size = sum(_pss(p["id"]) for p in processes)
    browser.close()
    return seconds, size


def _pss(process: int) -> float:
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        few, many = results_of(folder, 3), results_of(folder, options.studies)
        write_report([few], folder / "few")  # imports, and compiles the templates
        bare = costs("studies read", options.studies, 0, read, many)
        for what, write, *given in (
            ("folder written", write_report, [many], folder / "many"),
            ("tables written", write_tables, many, folder),
            ("single page written", write_html, [many], folder / "single.html"),
        ):
            costs(what, options.studies, bare, write, *given)
        if not options.rounds:
            return
        pages = {
            "empty page": "about:blank",
            "index of 3": (folder / "few" / "index.html").as_uri(),
            f"index of {options.studies}": (folder / "many" / "index.html").as_uri(),
            f"single page of {options.studies}": (folder / "single.html").as_uri(),
        }
        with sync_playwright() as playwright:

            def launch() -> Browser:
                return playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
                )

            rounds = [
                {name: opened(launch, page) for name, page in pages.items()}
                for _ in range(options.rounds)
            ]
        best = {name: tuple(min(r[name][i] for r in rounds) for i in (0, 1)) for name in pages}
        for name, (seconds, size) in best.items():
            other = best["index of 3"]
            print(
                f"{name:34s} {seconds:8.2f} s ({seconds / other[0]:5.2f})"
                f" {size:8.0f} MiB ({size / other[1]:5.2f})"
            )


if __name__ == "__main__":
    main()
