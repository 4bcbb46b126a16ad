"""The line at the end of a scan."""

from medscan.scanning.summary import Summary


def test_a_results_file_is_named_only_if_it_exists(tmp_path):
    out = tmp_path / "results.h5"
    summary = Summary(
        studies=2, scanned=1, left=1, stopped="disk full", files={"scanned": 1}, out=str(out)
    )
    assert summary.line().endswith("; no results written")
    out.touch()
    assert summary.line().endswith(f"; results in {out}")


def test_links_that_lead_out_are_named():
    summary = Summary(files={"scanned": 0, "skipped": 3, "failed": 0}, reasons={"linked": 3})
    assert summary.line() == (
        "nothing to scan: 3 files found, none with an image (0 scanned, 3 skipped, 0 failed); "
        "3 symbolic links out of the archive are not followed"
    )
